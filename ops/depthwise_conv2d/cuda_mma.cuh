// Fragments of matrices for the tensor cores: how the 32 threads of a warp hold a piece of A (16 x depth), of
// B (depth x 8) and of C (16 x 8), and how they multiply. With g = lane / 4 and t = lane % 4, C is in
// registers {C[g][2t], C[g][2t+1], C[g+8][2t], C[g+8][2t+1]}. Source: PTX ISA, mma.sync.
//
// A row of A takes 32 bytes in every type, so the same loads serve all: depth 16 for bf16 and f16, 8 for f32.
#pragma once

#include <cstdint>

#include "core/cuda/vector.cuh"

namespace replk::cuda {

/// A[16][depth], as loaded: rows g and g + 8 of the first 16 bytes, then of the second.
struct FragmentA {
  std::uint32_t x[4];
};

/// The address of shared memory as the matrix loads want it.
__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

/// Loads a 16 x 32 byte piece; lane l gives the address of 16 bytes: row l % 16, half l / 16.
__device__ inline FragmentA load_matrix(std::uint32_t address) {
  FragmentA a;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a.x[0]), "=r"(a.x[1]), "=r"(a.x[2]), "=r"(a.x[3])
               : "r"(address));
  return a;
}

/// The same, every 8 x 8 block of 16-bit elements transposed.
__device__ inline FragmentA load_matrix_transposed(std::uint32_t address) {
  FragmentA a;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(a.x[0]), "=r"(a.x[1]), "=r"(a.x[2]), "=r"(a.x[3])
               : "r"(address));
  return a;
}

/// 2 adjacent 16-bit elements or one f32 of B, twice: rows of the first and of the second half of the depth.
struct FragmentB {
  std::uint32_t x[2];
};

__device__ inline void multiply(float (&c)[4], const FragmentA& a, const FragmentB& b, bf16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}
__device__ inline void multiply(float (&c)[4], const FragmentA& a, const FragmentB& b, f16) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}
__device__ inline void multiply_tf32(float (&c)[4], const FragmentA& a, const FragmentB& b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.x[0]), "r"(a.x[1]), "r"(a.x[2]), "r"(a.x[3]), "r"(b.x[0]), "r"(b.x[1]));
}

/// x = high + low, each with the 11 significant bits that the tensor cores read of an f32 (tf32). What is
/// lost is below 2^-22 of x.
struct Split {
  std::uint32_t high, low;
};
__device__ inline Split split(float x) {
  Split s;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(s.high) : "f"(x));
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(s.low) : "f"(x - __uint_as_float(s.high)));
  return s;
}

/// How each element type multiplies.
template <class T>
struct Mma {  // bf16, f16
  static constexpr int kDepth = 16;
  using A = FragmentA;
  using B = FragmentB;
  __device__ static A prepare(const FragmentA& a) { return a; }
  __device__ static void run(float (&c)[4], const A& a, const B& b) { multiply(c, a, b, T{}); }
};

/// f32 as three products of halves, (ah + al)(bh + bl) without al bl: the error is that of f32 sums.
template <>
struct Mma<float> {
  static constexpr int kDepth = 8;
  struct A {
    FragmentA high, low;
  };
  struct B {
    FragmentB high, low;
  };
  __device__ static A prepare(const FragmentA& a) {
    A result;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const Split s = split(__uint_as_float(a.x[i]));
      result.high.x[i] = s.high, result.low.x[i] = s.low;
    }
    return result;
  }
  __device__ static void run(float (&c)[4], const A& a, const B& b) {
    multiply_tf32(c, a.low, b.high);
    multiply_tf32(c, a.high, b.low);
    multiply_tf32(c, a.high, b.high);
  }
};

}  // namespace replk::cuda
