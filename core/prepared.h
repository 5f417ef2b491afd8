// Prepared: what a kernel computes from a weight alone, kept until the weight changes.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace replk {

/// One tensor derived from another (a weight packed for the matrix product, the spectra of kernels). A layer
/// owns one and lends it to its operator: in training it is computed once per step and serves forward and
/// backward, in inference once for ever. Not for use by two threads at a time.
class Prepared {
 public:
  /// What make() returned for this content of `source` in this `form` (the sizes and choices that shape it),
  /// or what it returns now.
  template <class Make>
  const Tensor& get(const Tensor& source, const std::vector<std::int64_t>& form, const Make& make) {
    if (!value_.defined() || version_ != source.version() || memory_ != source.raw() ||
        !(shape_ == source.shape()) || form_ != form) {
      value_ = Tensor();  // its memory may serve the new value
      value_ = make();
      version_ = source.version(), memory_ = source.raw(), shape_ = source.shape(), form_ = form;
    }
    return value_;
  }

 private:
  Tensor value_;
  std::uint64_t version_ = 0;
  const void* memory_ = nullptr;
  Shape shape_;
  std::vector<std::int64_t> form_;
};

}  // namespace replk
