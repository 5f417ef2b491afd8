// Compute: where and in what precision a command computes.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "core/device.h"
#include "core/dtype.h"

namespace replk {

/// As written on the command line and in configurations.
struct ComputeFlags {
  std::string device = "auto";     // auto: a GPU where there is one
  std::string precision = "fp32";  // tf32 and bf16 need a GPU
};
/// Adds --device.
void add_device_flag(CLI::App& command, ComputeFlags& flags);
/// Adds --device and --precision.
void add_compute_flags(CLI::App& command, ComputeFlags& flags);

/// Weights, their gradients and the statistics of batch norms are f32 whatever the precision is.
struct Compute {
  Device device;
  DType activations = DType::f32;
  std::string precision = "fp32";

  /// "cuda:0 (NVIDIA H100 80GB HBM3), bf16"; "the CPU with 2 threads"
  std::string describe() const;
};

/// Throws UsageError for unknown names and for what neither this build nor this machine can do. Sets the
/// precision of f32 matrix products in the whole process.
Compute resolve_compute(const ComputeFlags& flags);
/// The part of resolve_compute that does not look at the machine.
void validate(const ComputeFlags& flags);

}  // namespace replk
