// Safetensors: named tensors in one file; the format of checkpoints and of the PyTorch world.
#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>

#include "core/tensor.h"

namespace replk {

/// What a safetensors file holds: tensors by name (on the CPU) and free text by key.
struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::map<std::string, Tensor> tensors;
};

/// Reads a file of F32, F64, BF16, F16, U8 and I64 tensors of rank 0 to 5.
/// The file is treated as hostile: everything its header says is checked against the file's size before
/// memory is asked for, and anything that is not as the format demands is a FileError naming file, place and
/// expectation. Source of the format: the Hugging Face safetensors specification.
Safetensors read_safetensors(const std::filesystem::path& path);

/// The same from memory; `name` stands for the file in errors. The tensors are copies.
Safetensors parse_safetensors(std::span<const std::byte> bytes, const std::string& name);

/// Writes a file that `read_safetensors` and the Python package read: wide elements first, then by name, so
/// that every tensor is aligned to its elements; the same content gives the same bytes. The file at `path` is
/// replaced as a whole or not at all (io/atomic_file.h). Throws Error for a tensor that is empty (undefined)
/// or named "__metadata__", and for text that is not UTF-8; FileError when writing fails.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, Tensor>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace replk
