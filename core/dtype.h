// Element types of a tensor, and the one place where a run-time DType becomes a C++ type.
#pragma once

#include <bit>
#include <cstdint>
#include <ostream>
#include <type_traits>

#include "core/error.h"

namespace replk {

/// f32 and f64 compute on every device; bf16 and f16 are storage types on the CPU; u8 holds images, i64
/// labels.
enum class DType : std::uint8_t { f32, f64, bf16, f16, u8, i64 };

/// The upper half of an IEEE float: 8 exponent bits, 8 bits of precision.
struct bf16 {
  std::uint16_t bits = 0;
  bf16() = default;
  /// Rounds to nearest, ties to even; NaN stays NaN.
  explicit bf16(float value);
  explicit operator float() const { return std::bit_cast<float>(std::uint32_t{bits} << 16); }
};

/// IEEE half precision: 5 exponent bits, 11 bits of precision.
struct f16 {
  std::uint16_t bits = 0;
  f16() = default;
  /// Rounds to nearest, ties to even; overflow gives infinity, NaN stays NaN.
  explicit f16(float value);
  explicit operator float() const;
};

/// Bytes of one element.
std::size_t size_of(DType dtype);
/// "f32", "bf16", ...
const char* name_of(DType dtype);
/// True for the four floating-point types.
bool is_floating(DType dtype);
std::ostream& operator<<(std::ostream& out, DType dtype);

template <class T>
struct TypeTag {
  using type = T;
};

/// Calls f(TypeTag<T>{}) with the C++ type of `dtype`. The only switch over dtypes in the project.
template <class F>
decltype(auto) visit(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(TypeTag<float>{});
    case DType::f64:
      return f(TypeTag<double>{});
    case DType::bf16:
      return f(TypeTag<bf16>{});
    case DType::f16:
      return f(TypeTag<f16>{});
    case DType::u8:
      return f(TypeTag<std::uint8_t>{});
    case DType::i64:
      break;
  }
  return f(TypeTag<std::int64_t>{});
}

/// Calls f(TypeTag<T>{}) with T = float or double: the types in which the CPU computes.
/// Throws Error naming `op` for any other dtype.
template <class F>
void visit_real(const char* op, DType dtype, F&& f) {
  visit(dtype, [&]<class T>(TypeTag<T> tag) {
    if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>)
      f(tag);
    else
      throw Error(str(op, ": the CPU computes in f32 or f64, got ", dtype, ". Cast the tensor first."));
  });
}

/// Calls f(TypeTag<T>{}) with T = float, double, bf16 or f16: the types in which a GPU computes.
/// Throws Error naming `op` for the integers.
template <class F>
void visit_floating(const char* op, DType dtype, F&& f) {
  visit(dtype, [&]<class T>(TypeTag<T> tag) {
    if constexpr (std::is_integral_v<T>)
      throw Error(str(op, ": a floating-point tensor expected, got ", dtype, ". Cast it first."));
    else
      f(tag);
  });
}

/// The dtype in which sums of elements of `dtype` are kept: f64 for f64, f32 for the other floating ones.
inline DType accumulator_of(DType dtype) { return dtype == DType::f64 ? DType::f64 : DType::f32; }

/// DType of a C++ type: dtype_of<float>() == DType::f32.
template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::f32;
  else if constexpr (std::is_same_v<T, double>)
    return DType::f64;
  else if constexpr (std::is_same_v<T, bf16>)
    return DType::bf16;
  else if constexpr (std::is_same_v<T, f16>)
    return DType::f16;
  else if constexpr (std::is_same_v<T, std::uint8_t>)
    return DType::u8;
  else {
    static_assert(std::is_same_v<T, std::int64_t>, "not an element type");
    return DType::i64;
  }
}

}  // namespace replk
