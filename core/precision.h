// How f32 matrix products are computed on a GPU.
#pragma once

#include <atomic>

namespace replk {

/// fp32 keeps all 24 bits of every factor; tf32 rounds factors to 11 bits and is several times faster.
/// Products of bf16 and f16 tensors, and sums, are not concerned: those are always added in f32. Neither is
/// the CPU.
enum class Precision { fp32, tf32 };

namespace detail {
inline std::atomic<Precision> precision{Precision::fp32};
}  // namespace detail

/// Of the whole process; fp32 until somebody says otherwise.
inline Precision precision() { return detail::precision.load(std::memory_order_relaxed); }
inline void set_precision(Precision precision) {
  detail::precision.store(precision, std::memory_order_relaxed);
}

}  // namespace replk
