#include "tests/fixtures_test/fixture_cases.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "io/safetensors.h"

namespace replk::test {
namespace {

using nlohmann::json;

json read_json(const std::filesystem::path& path) {
  std::ifstream file(path);
  check(file.good(), path, ": cannot be opened.");
  json content = json::parse(file, nullptr, /*allow_exceptions=*/false);
  check(!content.is_discarded(), path, ": not JSON.");
  return content;
}

const json& member(const json& object, const char* key, const std::string& where) {
  check(object.is_object() && object.contains(key), where, ": a member \"", key, "\" expected.");
  return object.at(key);
}

// The tensors that an object of {name: key} stands for.
Tensors tensors_of(const json& keys, const Tensors& stored, const std::string& where) {
  Tensors result;
  for (const auto& [name, key] : keys.items()) {
    check(key.is_string() && stored.contains(key), where, ": tensor ", key, " (\"", name,
          "\") is not in the .safetensors file.");
    result[name] = stored.at(key);
  }
  return result;
}

FixtureCase case_of(const json& entry, const Tensors& stored, const std::string& file) {
  FixtureCase c;
  c.name = member(entry, "name", file);
  const std::string where = str(file, ", case ", c.name);
  c.op = member(entry, "op", where);
  c.attrs = member(entry, "attrs", where);
  c.inputs = tensors_of(member(entry, "inputs", where), stored, where);
  c.outputs = tensors_of(member(entry, "outputs", where), stored, where);
  c.grads = tensors_of(entry.value("grads", json::object()), stored, where);
  check(!c.outputs.empty(), where, ": at least one output expected.");
  for (const auto& [name, grad] : c.grads)
    check(c.inputs.contains(name), where, ": a gradient of \"", name, "\", which is no input.");
  if (!c.grads.empty())
    c.grad_output = tensors_of({{"dy", member(entry, "grad_output", where)}}, stored, where)["dy"];
  return c;
}

}  // namespace

std::filesystem::path fixture_folder() {
  const char* folder = std::getenv("REPLK_FIXTURE_DIR");
  return folder && *folder ? folder : "tests/fixtures";
}

std::vector<std::filesystem::path> fixture_files(const std::filesystem::path& folder) {
  check(std::filesystem::is_directory(folder), folder,
        ": no such folder. Run from the root of the repository, or set REPLK_FIXTURE_DIR.");
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".json" && read_json(entry.path()).contains("cases"))
      files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<FixtureCase> read_fixture_cases(const std::filesystem::path& json_file) {
  const std::string name = json_file.filename().string();
  const json content = read_json(json_file);
  const Tensors stored =
      read_safetensors(std::filesystem::path(json_file).replace_extension(".safetensors")).tensors;
  std::vector<FixtureCase> cases;
  for (const json& entry : member(content, "cases", name)) cases.push_back(case_of(entry, stored, name));
  return cases;
}

}  // namespace replk::test
