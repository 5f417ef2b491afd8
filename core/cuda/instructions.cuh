// What has no name in C++: conversions, dynamic shared memory, and the instructions of the tensor cores, of
// asynchronous copies and of clusters. Every line of assembly is here. (tests/emulated_cuda has a file of the
// same name, which says in C++ what they do.)
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

namespace replk::cuda {

__device__ inline float widen(f16 x) {
  float wide;
  asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(x.bits));
  return wide;
}
/// To nearest, ties to even.
__device__ inline bf16 round_to_bf16(float x) {
  bf16 result;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
}
__device__ inline f16 round_to_f16(float x) {
  f16 result;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result.bits) : "f"(x));
  return result;
}
/// Two of them in one word, `first` in its lower half.
__device__ inline std::uint32_t round_pair(float first, float second, bf16) {
  std::uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}
__device__ inline std::uint32_t round_pair(float first, float second, f16) {
  std::uint32_t pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
}
/// The bits of x with the 11 significant ones that the tensor cores read of an f32; ties away from 0.
__device__ inline std::uint32_t round_to_tf32(float x) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
}

/// 1 / x to the last bit or two, for x that are not denormal.
__device__ inline float reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Writes 16 bytes to device memory, in one instruction: left to itself, the compiler makes four of it in
/// unrolled loops.
__device__ inline void store_vector(void* memory, const uint4& vector) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(memory)),
               "r"(vector.x), "r"(vector.y), "r"(vector.z), "r"(vector.w)
               : "memory");
}

/// Start of the shared memory whose size the launch gives, a multiple of 16 bytes.
__device__ inline char* dynamic_shared() {
  extern __shared__ uint4 replk_shared[];
  return reinterpret_cast<char*>(replk_shared);
}
/// The address of shared memory as the matrix loads want it.
__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

/// Starts copying 16 bytes from memory to shared memory, both at multiples of 16. They are there for this
/// thread after wait_for_copies, and for the block after the barrier that follows.
__device__ inline void copy_async(void* shared, const void* memory) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(memory)
               : "memory");
}
__device__ inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }
/// Makes a group of the copies that this thread has started since the last one; there may be none.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
/// Waits for all groups but the last.
__device__ inline void wait_for_copies_but_last() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

// Clusters: the blocks that a launch puts side by side (Grid::cluster), which can write to each other's
// shared memory, on GPUs of compute capability 9.0 and later. Elsewhere every block is a cluster of its own.
#if __CUDA_ARCH__ >= 900
__device__ inline unsigned cluster_size() {
  unsigned size;
  asm("mov.u32 %0, %%cluster_nctarank;" : "=r"(size));
  return size;
}
/// The number of this block within its cluster.
__device__ inline unsigned cluster_rank() {
  unsigned rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}
/// cluster_wait returns when all threads of the cluster have called cluster_arrive; what they wrote before
/// can be read then. Every thread calls the two in turn, the threads of a warp together.
__device__ inline void cluster_arrive() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}
/// The same for threads whose writes nobody in another block reads: does not wait until they are seen.
__device__ inline void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ inline void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

/// Writes `value` to where *shared lies in dynamic shared memory, but in that of block `rank` of the cluster,
/// which must have started and not returned.
template <class T>
__device__ void store_in_block(T* shared, unsigned rank, const T& value) {
  static_assert(sizeof(T) % 4 == 0, "whole words expected");
  std::uint32_t words[sizeof(T) / 4], address;
  memcpy(words, &value, sizeof(T));
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared_address(shared)), "r"(rank));
  for (int i = 0; i < static_cast<int>(sizeof(T) / 4); ++i)
    asm volatile("st.shared::cluster.u32 [%0], %1;" ::"r"(address + 4 * i), "r"(words[i]) : "memory");
}
#else
__device__ inline unsigned cluster_size() { return 1; }
__device__ inline unsigned cluster_rank() { return 0; }
__device__ inline void cluster_arrive() {}
__device__ inline void cluster_arrive_relaxed() {}
__device__ inline void cluster_wait() {}
template <class T>
__device__ void store_in_block(T* shared, unsigned, const T& value) {
  *shared = value;
}
#endif

// How the 32 threads of a warp hold a piece of A (16 x depth), of B (depth x 8) and of C (16 x 8): with
// g = lane / 4 and t = lane % 4, C is in registers {C[g][2t], C[g][2t+1], C[g+8][2t], C[g+8][2t+1]}. A row of
// A takes 32 bytes in every type: depth 16 for bf16 and f16, 8 for f32. Source: PTX ISA, mma.sync, ldmatrix.
// All threads of a warp must call these together.

/// A[16][depth], as loaded: rows g and g + 8 of the first 16 bytes, then of the second.
struct FragmentA {
  std::uint32_t x[4];
};
/// 2 adjacent 16-bit elements or one f32 of B, twice: rows of the first and of the second half of the depth.
struct FragmentB {
  std::uint32_t x[2];
};

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

/// C += A B
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

}  // namespace replk::cuda
