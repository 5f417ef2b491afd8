#include "data/cifar.h"

#include "core/error.h"
#include "data/open_dataset.h"
#include "tests/data/data_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr std::int64_t kPlane = 32 * 32;

// A record as the format defines it: labels, then the three planes.
Bytes record(const Bytes& labels, const Image& image) {
  Bytes bytes = labels;
  for (std::int64_t c = 0; c < 3; ++c)
    for (std::int64_t y = 0; y < 32; ++y)
      for (std::int64_t x = 0; x < 32; ++x) bytes.push_back(image.at(y, x, c));
  return bytes;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Image picture(std::uint64_t seed) { return random_image(32, 32, 3, seed); }

void write_cifar10(const std::filesystem::path& root) {
  for (std::uint64_t file = 1; file <= 5; ++file)
    write_bytes(root / str("data_batch_", file, ".bin"),
                record({static_cast<std::uint8_t>(file)}, picture(file)) +
                    record({static_cast<std::uint8_t>(file + 4)}, picture(file + 10)));
  write_bytes(root / "test_batch.bin", record({0}, picture(99)));
}

}  // namespace

TEST_CASE("data/cifar10/round_trip") {
  const TemporaryFolder folder;
  write_cifar10(folder.path() / "cifar-10-batches-bin");
  const auto train = open_dataset("cifar10", Split::train, folder.path());
  REQUIRE(train->size() == 10);
  CHECK(train->name() == "cifar10 train");
  CHECK(train->classes().size() == 10);
  CHECK(train->classes()[3] == "cat");
  for (std::uint64_t file = 1; file <= 5; ++file) {
    const auto index = static_cast<std::int64_t>(file - 1) * 2;
    CHECK(train->get(index).image == picture(file));
    CHECK(train->get(index).label == static_cast<std::int64_t>(file));
    CHECK(train->get(index + 1).image == picture(file + 10));
    CHECK(train->get(index + 1).label == static_cast<std::int64_t>(file) + 4);
  }
  const auto test = open_dataset((folder.path() / "cifar-10-batches-bin").string(), Split::test);
  REQUIRE(test->size() == 1);
  CHECK(test->get(0).image == picture(99));
}

TEST_CASE("data/cifar100/round_trip") {
  const TemporaryFolder folder;
  write_bytes(folder.path() / "train.bin", record({19, 99}, picture(1)) + record({0, 0}, picture(2)));
  write_bytes(folder.path() / "test.bin", record({3, 42}, picture(3)));
  const auto train = open_cifar100(folder.path(), Split::train);
  REQUIRE(train->size() == 2);
  REQUIRE(train->classes().size() == 100);
  CHECK(std::is_sorted(train->classes().begin(), train->classes().end()));
  CHECK(train->get(0).image == picture(1));
  CHECK(train->label(0) == 99);
  CHECK(train->classes()[99] == "worm");
  CHECK(open_dataset(folder.path().string(), Split::test)->label(0) == 42);
}

TEST_CASE("data/cifar/hostile_files") {
  const TemporaryFolder folder;
  const auto open = [&] { open_cifar10(folder.path(), Split::test); };
  const auto path = folder.path() / "test_batch.bin";
  check_error(open, {"test_batch.bin", "no such file", "cifar-10-binary.tar.gz"});
  const Bytes whole = record({1}, picture(1)) + record({2}, picture(2));
  for (const std::size_t length : {0, 1, 3072, 3074, 6145}) {
    INFO("cut at " << length);
    write_bytes(path, Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
    CHECK_THROWS_AS(open(), FileError);
    check_error(open, {"test_batch.bin: byte ", "a record of 3073 bytes expected"});
  }
  write_bytes(path, whole + record({10}, picture(3)));
  check_error(open, {"test_batch.bin: byte 6146: a label below 10", "got 10"});
  CHECK_THROWS_AS(open_cifar10(folder.path(), Split::validation), UsageError);
  static_assert(3 * kPlane + 1 == 3073);
}
