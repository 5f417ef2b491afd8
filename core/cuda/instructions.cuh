// What has no name in C++: conversions, dynamic shared memory, and the instructions of the tensor cores and
// of asynchronous copies. Every line of assembly is here. (tests/emulated_cuda has a file of the same name,
// which says in C++ what they do.)
#pragma once

#include <cstdint>

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
/// The bits of x with the 11 significant ones that the tensor cores read of an f32; ties away from 0.
__device__ inline std::uint32_t round_to_tf32(float x) {
  std::uint32_t bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return bits;
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
