// A RepLKNet as an ONNX file, which other programs run.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "models/replknet.h"

namespace replk {

/// Writes the network in eval mode, as it is: training-time, merged or folded. Input "images" f32 (batch,
/// channels, height, width), normalised already; output "logits" (batch, classes), or feature maps
/// "features<stage>" where it has no head. The batch is free; so are height and width where they are 0.
/// Operators: Conv, BatchNormalization, Relu, Erf, Mul, Add, GlobalAveragePool, Flatten, Gemm; drop path is
/// gone. Throws Error beyond 2 GiB.
void export_onnx(const std::filesystem::path& path, RepLKNet& model, std::int64_t height, std::int64_t width,
                 const std::map<std::string, std::string>& metadata = {});

}  // namespace replk
