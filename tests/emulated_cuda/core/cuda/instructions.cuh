// What core/cuda/instructions.cuh says in assembly, in C++. Source: PTX ISA, mma.sync, ldmatrix, cvt.
#pragma once

#include <bit>
#include <cstdint>

#include "core/dtype.h"
#include "tests/emulated_cuda/device.h"

namespace replk::cuda {

inline float widen(f16 x) { return static_cast<float>(x); }
inline bf16 round_to_bf16(float x) { return bf16(x); }
inline f16 round_to_f16(float x) { return f16(x); }
template <class T>
std::uint32_t round_pair(float first, float second, T) {
  return T(first).bits | static_cast<std::uint32_t>(T(second).bits) << 16;
}
inline std::uint32_t round_to_tf32(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  return finite ? (bits + 0x1000u) & ~0x1fffu : bits;
}

inline float reciprocal(float x) { return 1 / x; }
inline void store_vector(void* memory, const uint4& vector) { std::memcpy(memory, &vector, sizeof(vector)); }

inline char* dynamic_shared() { return emulated::dynamic_shared(); }
inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(static_cast<const char*>(p) - emulated::dynamic_shared());
}

inline void copy_async(void* shared, const void* memory) { std::memcpy(shared, memory, 16); }
inline void wait_for_copies() {}
inline void commit_copies() {}
inline void wait_for_copies_but_last() {}

inline unsigned cluster_size() { return emulated::cluster_size(); }
inline unsigned cluster_rank() { return emulated::cluster_rank(); }
inline void cluster_arrive() {}  // all of the waiting is in cluster_wait
inline void cluster_arrive_relaxed() {}
inline void cluster_wait() { emulated::sync_cluster(); }
template <class T>
void store_in_block(T* shared, unsigned rank, const T& value) {
  std::memcpy(emulated::dynamic_shared_of(rank) + shared_address(shared), &value, sizeof(T));
}

struct FragmentA {
  std::uint32_t x[4];
};
struct FragmentB {
  std::uint32_t x[2];
};

namespace emulated_detail {

// The 16 bytes at the address that lane `row_of` gave.
inline const char* row_at(const std::array<emulated::Words, 32>& shown, unsigned lane) {
  return emulated::dynamic_shared() + shown[lane][0];
}

inline std::uint16_t half_at(const char* row, unsigned element) {
  std::uint16_t bits;
  std::memcpy(&bits, row + 2 * element, 2);
  return bits;
}

}  // namespace emulated_detail

inline FragmentA load_matrix(std::uint32_t address) {
  using namespace emulated_detail;
  const auto& shown = emulated::exchange({address});
  const unsigned g = emulated::lane() / 4, t = emulated::lane() % 4;
  FragmentA a;
  for (unsigned i = 0; i < 4; ++i) std::memcpy(&a.x[i], row_at(shown, 8 * i + g) + 4 * t, 4);
  return a;
}

inline FragmentA load_matrix_transposed(std::uint32_t address) {
  using namespace emulated_detail;
  const auto& shown = emulated::exchange({address});
  const unsigned g = emulated::lane() / 4, t = emulated::lane() % 4;
  FragmentA a;
  for (unsigned i = 0; i < 4; ++i)
    a.x[i] = half_at(row_at(shown, 8 * i + 2 * t), g) |
             static_cast<std::uint32_t>(half_at(row_at(shown, 8 * i + 2 * t + 1), g)) << 16;
  return a;
}

namespace emulated_detail {

// c[i] += sum over k of A[row][k] B[k][column] for the four elements that this thread holds; a(shown, row, k)
// and b(shown, k, column) find an element among what the warp showed.
template <class FindA, class FindB>
void multiply_by(float (&c)[4], const FragmentA& a, const FragmentB& b, unsigned depth, const FindA& find_a,
                 const FindB& find_b) {
  const auto& shown = emulated::exchange({a.x[0], a.x[1], a.x[2], a.x[3], b.x[0], b.x[1]});
  const unsigned g = emulated::lane() / 4, t = emulated::lane() % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = g + i / 2 * 8, column = 2 * t + i % 2;
    for (unsigned k = 0; k < depth; ++k) c[i] += find_a(shown, row, k) * find_b(shown, k, column);
  }
}

template <class T>
float half_of(std::uint32_t pair, unsigned which) {
  T value;
  value.bits = static_cast<std::uint16_t>(pair >> 16 * which);
  return static_cast<float>(value);
}

template <class T>
void multiply_halves(float (&c)[4], const FragmentA& a, const FragmentB& b) {
  multiply_by(
      c, a, b, 16,
      [](const auto& shown, unsigned row, unsigned k) {
        return half_of<T>(shown[row % 8 * 4 + k % 8 / 2][row / 8 + k / 8 * 2], k % 2);
      },
      [](const auto& shown, unsigned k, unsigned column) {
        return half_of<T>(shown[column * 4 + k % 8 / 2][4 + k / 8], k % 2);
      });
}

// The tensor cores do not look at the lowest 13 bits.
inline float tf32(std::uint32_t bits) { return std::bit_cast<float>(bits & ~0x1fffu); }

}  // namespace emulated_detail

inline void multiply(float (&c)[4], const FragmentA& a, const FragmentB& b, bf16) {
  emulated_detail::multiply_halves<bf16>(c, a, b);
}
inline void multiply(float (&c)[4], const FragmentA& a, const FragmentB& b, f16) {
  emulated_detail::multiply_halves<f16>(c, a, b);
}
inline void multiply_tf32(float (&c)[4], const FragmentA& a, const FragmentB& b) {
  using emulated_detail::tf32;
  emulated_detail::multiply_by(
      c, a, b, 8,
      [](const auto& shown, unsigned row, unsigned k) {
        return tf32(shown[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2]);
      },
      [](const auto& shown, unsigned k, unsigned column) {
        return tf32(shown[column * 4 + k % 4][4 + k / 4]);
      });
}

}  // namespace replk::cuda
