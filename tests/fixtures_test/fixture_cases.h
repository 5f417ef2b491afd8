// Reference cases of single operators: what is in the .json and .safetensors files of the fixture folder.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/tape.h"

namespace replk::test {

using Tensors = std::map<std::string, Tensor>;

/// One case. Tensors by the case's own names ("x", "weight", "y"), as stored: NCHW, f32 or i64.
struct FixtureCase {
  std::string name, op;
  nlohmann::json attrs;
  Tensors inputs, outputs, grads;
  Tensor grad_output;  // undefined when there are no gradients to check
};

/// $REPLK_FIXTURE_DIR, or tests/fixtures.
std::filesystem::path fixture_folder();

/// The .json files of the folder that list cases, by name.
std::vector<std::filesystem::path> fixture_files(const std::filesystem::path& folder);

/// All cases of a file, whose tensors are in the .safetensors file of the same name. Throws Error naming
/// file, case and key when something is missing.
std::vector<FixtureCase> read_fixture_cases(const std::filesystem::path& json_file);

}  // namespace replk::test
