// Which kernel runs each depth-wise convolution of a network, and whether the one asked for could.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "models/replknet.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"

namespace replk {

/// The depth-wise layers of a network that have the same sizes, and what runs their passes.
struct DepthwiseLayers {
  std::int64_t channels;
  Extent2d map, kernel, stride;  // map: of the input
  std::int64_t layers = 0;
  // Names of kernels on the network's device.
  std::string forward = {}, backward_input = {}, backward_weight = {};
  bool as_asked = true;  // what --depthwise-kernel says applies to them

  /// "13x13 at 14x14", "3x3 stride 2 at 28x28"
  std::string name() const;
};

/// The depth-wise layers of such a network, in the order in which they run, with the kernels of `device` for
/// a batch of `batch` images of height x width in `dtype`. Found by a DryRun in eval mode: nothing is
/// computed.
std::vector<DepthwiseLayers> depthwise_layers(const RepLKNetConfig& config, Device device, std::int64_t batch,
                                              std::int64_t height, std::int64_t width,
                                              DType dtype = DType::f32);

enum class Passes { forward, all };

/// What a command says before it starts, lines without their ends:
///     depth-wise kernels: 13x13 at 14x14 fft (weight gradient direct), 5x5 at 14x14 direct
///     --depthwise-kernel fft does not apply to 1 of 9 layers: 3x3 stride 2 at 28x28 direct
/// or, where nothing was asked for:
///     no fast kernel for 1 of 9 layers (slow): 3x3 stride 3 at 28x28 naive
/// Only the first line if what was asked for applies everywhere, and something faster than naive. With
/// Passes::all gradients are told where their kernels differ from the forward one's.
std::vector<std::string> kernel_lines(const std::vector<DepthwiseLayers>& layers, Passes passes);
/// The same, all passes, as a table.
std::string kernel_table(const std::vector<DepthwiseLayers>& layers);

/// The kernel with this name. Throws UsageError naming the choices and the nearest one.
DepthwiseKernel depthwise_kernel_named(const std::string& name);
/// Adds --depthwise-kernel, which takes effect while the command line is parsed.
CLI::Option* add_depthwise_kernel_flag(CLI::App& command);

}  // namespace replk
