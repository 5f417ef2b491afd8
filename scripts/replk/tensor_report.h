// What is in files of tensors: statistics, the differences of two, and pictures of kernels.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "data/image.h"

namespace replk {

using NamedTensors = std::map<std::string, Tensor>;

/// Of the finite elements of a tensor; NaN where there are none.
struct TensorStatistics {
  double min, max, mean, std;   // std: of the whole population
  std::int64_t not_finite = 0;  // NaN or infinite elements
};
TensorStatistics statistics_of(const Tensor& tensor);

/// How two files of tensors differ.
struct TensorDifferences {
  struct Shapes {
    std::string name;
    Shape first, second;
  };
  struct Values {
    std::string name;
    double largest;   // |a - b|; infinite where one of them is not a number and the other is
    double relative;  // of the largest |a|
  };
  std::vector<std::string> only_in_first, only_in_second;
  std::vector<Shapes> shapes;
  std::vector<Values> values;  // of tensors that are not equal, the largest difference first
  std::int64_t equal = 0;      // tensors with the same values (dtypes may differ)
  bool none() const {
    return only_in_first.empty() && only_in_second.empty() && shapes.empty() && values.empty();
  }
};
TensorDifferences compare_tensors(const NamedTensors& first, const NamedTensors& second);

/// One kernel of height x width weights as a picture of side x side pixels: blue is negative, white 0, red
/// positive, full colour `largest` and beyond.
Image draw_kernel(const double* weights, std::int64_t height, std::int64_t width, double largest,
                  std::int64_t side);

/// Depth-wise kernels of at least `smallest` pixels a side: a row for each layer (those of a network's stages
/// in their order), `columns` of its channels evenly spread. Blue is negative, white 0, red positive, full
/// colour the layer's largest weight. Throws Error when there are no such kernels.
Image kernel_picture(const NamedTensors& tensors, std::int64_t smallest = 5, std::int64_t columns = 12);

}  // namespace replk
