// The types of elements that the direct and the FFT kernels of a GPU are compiled for.
#pragma once

#include "core/dtype.h"

namespace replk::cuda {

inline bool is_f32_or_bf16(DType dtype) { return dtype == DType::f32 || dtype == DType::bf16; }

/// f(TypeTag<float>()) or f(TypeTag<bf16>()): `dtype` is one of these.
template <class F>
void with_f32_or_bf16(DType dtype, const F& f) {
  if (dtype == DType::f32)
    f(TypeTag<float>());
  else
    f(TypeTag<bf16>());
}

}  // namespace replk::cuda
