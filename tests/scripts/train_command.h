// What the tests that run `replk train` share.
#pragma once

#include <algorithm>
#include <map>

#include "tests/scripts/train_support.h"
#include "tests/support/catch.h"

namespace replk::test {

using Arguments = std::vector<std::string>;

/// A small data set, and runs beside it.
struct Fixture {
  TemporaryFolder folder;
  Fixture() { write_idx_dataset(folder / "data"); }

  std::filesystem::path run(const std::string& name) const { return folder / name; }
  /// The flags of a small run into the folder `name`, with more of them.
  Arguments train(const std::string& name, const Arguments& more = {}) const {
    Arguments all = {"train",
                     "--data",
                     folder / "data",
                     "--model",
                     "replknet-nano",
                     "--model-config",
                     kSmallNetwork,
                     "--batch-size",
                     "16",
                     "--val-split",
                     "40",
                     "--threads",
                     "1",
                     "--out",
                     run(name)};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

/// `replk` where no file may grow beyond so many blocks of 512 bytes: writing more fails as on a full disk.
inline Outcome run_replk_with_files_of(std::uintmax_t blocks, const Arguments& arguments) {
  Arguments all = {"sh", "-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", std::to_string(blocks),
                   REPLK_BINARY};
  all.insert(all.end(), arguments.begin(), arguments.end());
  return Process(all).wait();
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The files of a folder with their contents.
inline std::map<std::string, std::string> contents(const std::filesystem::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    if (entry.is_regular_file()) files[entry.path().string()] = read_text(entry.path());
  return files;
}

/// One line on standard error, beginning as all errors do.
inline void check_one_line(const Outcome& outcome) {
  CHECK(outcome.err.starts_with("replk: "));
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
}

}  // namespace replk::test
