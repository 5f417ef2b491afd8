// PyTorch checkpoints (.pth, .pt): the tensors that torch.save wrote, without Python and without running
// anything.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace replk {

/// The tensors of a state dict, on the CPU, and what else there was to say.
struct PytorchFile {
  std::map<std::string, Tensor> tensors;
  std::string entry;               // where they were: "model", "state_dict", ...; "" for a bare state dict
  std::vector<std::string> notes;  // what was skipped, one line each
};

/// Reads a file of torch.save (PyTorch 1.6 or later: a zip archive) that holds a state dict, bare or under
/// `entry`; empty: the first there is of "model", "state_dict", "model_state_dict", "model_ema". Names are as
/// in the file. Tensors that share memory in the file share it here; a strided one is copied in order. f32,
/// f64, f16, bf16, i64, u8 and bool (as u8).
///
/// The file is treated as hostile: its pickle is run by a machine that builds numbers, text, lists, tuples,
/// dicts and tensors. Objects of any class stay inert: beside the weights they are skipped with a note, among
/// them they are an error. Memory stays within a small multiple of the file's size. Throws FileError naming
/// file, place and what to do; UsageError when there is nothing under `entry`.
PytorchFile read_pytorch(const std::filesystem::path& path, const std::string& entry = "");

/// The same from memory; `name` stands for the file in errors.
PytorchFile parse_pytorch(std::span<const std::byte> bytes, const std::string& name,
                          const std::string& entry = "");

/// True when the file begins like one that read_pytorch knows or can name: a zip archive, or an older format
/// of torch.save.
bool looks_like_pytorch(const std::filesystem::path& path);

}  // namespace replk
