#include "data/idx.h"

#include "core/error.h"
#include "data/open_dataset.h"
#include "data/statistics.h"
#include "tests/data/data_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

const std::vector<std::string> kClasses = {"zero", "one", "two"};
const Bytes kLabels = {0, 2, 1, 1, 0};

Bytes images_file() { return idx_bytes({5, 4, 3}, random_bytes(5 * 4 * 3, 1)); }
Bytes labels_file() { return idx_bytes({5}, kLabels); }

// Both files in a folder, as given.
struct Files {
  TemporaryFolder folder;
  std::filesystem::path images = folder.path() / "images", labels = folder.path() / "labels";
  Files(const Bytes& image_bytes, const Bytes& label_bytes) {
    write_bytes(images, image_bytes);
    write_bytes(labels, label_bytes);
  }
  std::unique_ptr<Dataset> open() const { return open_idx(images, labels, kClasses, "test set"); }
};

void check_refused(const Bytes& image_bytes, const Bytes& label_bytes,
                   const std::vector<std::string>& parts) {
  const Files files(image_bytes, label_bytes);
  CHECK_THROWS_AS(files.open(), FileError);
  check_error([&] { files.open(); }, parts);
}

Bytes with_byte(Bytes bytes, std::size_t at, std::uint8_t value) {
  bytes[at] = value;
  return bytes;
}

}  // namespace

TEST_CASE("data/idx/reads") {
  const auto packed = GENERATE(false, true);
  const Files files(packed ? gzip(images_file()) : images_file(),
                    packed ? gzip(labels_file()) : labels_file());
  const auto dataset = files.open();
  REQUIRE(dataset->size() == 5);
  CHECK(dataset->classes() == kClasses);
  CHECK(dataset->name() == "test set");
  const Bytes pixels = random_bytes(60, 1);
  for (std::int64_t i = 0; i < 5; ++i) {
    const Sample sample = dataset->get(i);
    CHECK(sample.image == Image{4, 3, 1, Bytes(pixels.begin() + i * 12, pixels.begin() + (i + 1) * 12)});
    CHECK(sample.label == kLabels[static_cast<std::size_t>(i)]);
    CHECK(dataset->label(i) == sample.label);
  }
  check_error([&] { dataset->get(5); }, {"test set", "[0, 5)", "got 5"});
  check_error([&] { dataset->get(-1); }, {"got -1"});
}

TEST_CASE("data/idx/cut_anywhere_is_refused") {
  const auto packed = GENERATE(false, true);
  const Bytes images = packed ? gzip(images_file()) : images_file();
  const Bytes labels = packed ? gzip(labels_file()) : labels_file();
  for (std::size_t length = 0; length < images.size(); ++length) {
    INFO("images cut at " << length);
    check_refused(Bytes(images.begin(), images.begin() + static_cast<std::ptrdiff_t>(length)), labels,
                  {"images: byte ", "expected"});
  }
  for (std::size_t length = 0; length < labels.size(); ++length) {
    INFO("labels cut at " << length);
    check_refused(images, Bytes(labels.begin(), labels.begin() + static_cast<std::ptrdiff_t>(length)),
                  {"labels: byte ", "expected"});
  }
}

TEST_CASE("data/idx/any_flipped_header_byte_is_refused") {
  const Bytes images = images_file(), labels = labels_file();
  for (std::size_t at = 0; at < 16; ++at)
    for (const int flip : {0x01, 0x80, 0xff}) {
      INFO("byte " << at << " flipped by " << flip);
      const Bytes bad = with_byte(images, at, static_cast<std::uint8_t>(images[at] ^ flip));
      check_refused(bad, labels, {"byte ", "expected"});
      if (at < 8) {
        const Bytes bad_labels = with_byte(labels, at, static_cast<std::uint8_t>(labels[at] ^ flip));
        check_refused(images, bad_labels, {"byte ", "expected"});
      }
    }
}

TEST_CASE("data/idx/any_flipped_packed_byte_is_refused_or_harmless") {
  const Bytes images = gzip(images_file()), labels = labels_file();
  const Files whole(images, labels);
  for (std::size_t at = 0; at < images.size(); ++at) {
    const Files files(with_byte(images, at, static_cast<std::uint8_t>(images[at] ^ 0x55)), labels);
    bool same_or_refused = true;
    try {
      same_or_refused = files.open()->get(4).image == whole.open()->get(4).image;  // a time stamp, say
    } catch (const FileError&) {
    }
    CHECK(same_or_refused);
  }
}

TEST_CASE("data/idx/errors_say_where_and_what") {
  const Bytes images = images_file(), labels = labels_file();
  check_refused({}, labels, {"images: byte 0: ", "at most 0 more"});
  check_refused(labels, labels, {"images: byte 0: ", "2051", "got 2049"});
  check_refused(idx_bytes({0, 4, 3}, {}), labels, {"images: byte 4: ", "a number of images", "got 0"});
  check_refused(idx_bytes({5, 0, 3}, {}), labels, {"images: byte 8: ", "a height", "got 0"});
  check_refused(idx_bytes({5, 4, 5000}, {}), labels, {"images: byte 12: ", "a width", "got 5000"});
  check_refused(idx_bytes({6, 4, 3}, random_bytes(60, 1)), labels, {"images: byte 16: 72 bytes", "60 more"});
  check_refused(idx_bytes({4, 4, 3}, random_bytes(60, 1)), labels, {"images: byte 64: ", "the end"});
  check_refused(idx_bytes({5, 4, 3}, random_bytes(60, 1)), idx_bytes({4}, {0, 1, 2, 0}),
                {"labels: byte 4: 5 labels", "images", "got 4"});
  check_refused(images, idx_bytes({5}, {0, 1, 2, 3, 0}), {"labels: byte 11: a label below 3", "got 3"});
  check_error([] { read_idx_images("/nonexistent/file"); }, {"/nonexistent/file", "no such file"});
  const TemporaryFolder folder;
  check_error([&] { read_idx_images(folder.path()); }, {folder.path().string(), "a regular file expected"});
}

TEST_CASE("data/idx/headers_that_promise_too_much_cost_no_memory") {
  const Bytes labels = labels_file();
  // 2^32 - 1 pictures of 4096x4096 in 16 bytes, and of a size that passes the limit in 16 or 40 bytes.
  check_refused(idx_bytes({0xffffffff, 4096, 4096}, {}), labels,
                {"images: byte 4: at most 4294967296 bytes"});
  check_refused(idx_bytes({256, 4096, 4096}, {}), labels, {"images: byte 16: 4294967296 bytes", "0 more"});
  check_refused(gzip(idx_bytes({256, 4096, 4096}, {})), labels,
                {"images: byte 16: 4294967296 bytes", "packed bytes"});
  check_refused(images_file(), idx_bytes({0xffffffff}, {}), {"labels: byte 8: 4294967295 bytes of labels"});
}

TEST_CASE("data/idx/gzip_that_unpacks_to_more_than_its_header_says_is_refused") {
  Bytes bomb = idx_bytes({5, 4, 3}, random_bytes(60, 1));
  bomb.resize(bomb.size() + 50'000'000);
  check_refused(gzip(bomb), labels_file(), {"images: byte 76: ", "the end of the data expected"});
}

TEST_CASE("data/idx/what_follows_the_gzip_data_is_refused") {
  Bytes images = gzip(images_file());
  const std::string end = std::to_string(images.size());
  images.push_back(0);
  check_refused(images, labels_file(), {"images: byte " + end, "(packed)", "more follows"});
}

TEST_CASE("data/idx/folder") {
  const TemporaryFolder folder;
  write_bytes(folder.path() / "train-images-idx3-ubyte", images_file());
  write_bytes(folder.path() / "train-labels-idx1-ubyte.gz", gzip(labels_file()));
  const auto train = open_dataset(folder.path().string(), Split::train);
  CHECK(train->size() == 5);
  CHECK(train->classes() == std::vector<std::string>{"0", "1", "2"});
  check_error([&] { open_dataset(folder.path().string(), Split::test); },
              {"t10k-images-idx3-ubyte", "no such"});
  CHECK_THROWS_AS(open_dataset(folder.path().string(), Split::validation), UsageError);

  // The test part has fewer classes, but its labels mean the same.
  write_bytes(folder.path() / "t10k-images-idx3-ubyte", idx_bytes({2, 4, 3}, random_bytes(24, 2)));
  write_bytes(folder.path() / "t10k-labels-idx1-ubyte", idx_bytes({2}, {1, 0}));
  CHECK(open_dataset(folder.path().string(), Split::test)->classes() == train->classes());
}

TEST_CASE("data/fashion_mnist/missing") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(open_fashion_mnist(folder.path(), Split::train), FileError);
  check_error([&] { open_fashion_mnist(folder.path(), Split::test); },
              {folder.path().string(), "t10k-images-idx3-ubyte", "apt-get install dataset-fashion-mnist"});
  CHECK_THROWS_AS(open_fashion_mnist(folder.path(), Split::validation), UsageError);
}

TEST_CASE("data/fashion_mnist/real") {
  if (!std::filesystem::exists("/usr/share/datasets/fashion-mnist")) {
    WARN("skipped: dataset-fashion-mnist is not installed");
    return;
  }
  const auto train = open_dataset("fashion-mnist", Split::train, "/usr/share/datasets");
  const auto test = open_dataset("fashion-mnist", Split::test, "/usr/share/datasets");
  CHECK(train->size() == 60000);
  CHECK(test->size() == 10000);
  CHECK(train->classes()[9] == "Ankle boot");
  CHECK(train->label(0) == 9);
  const auto statistics = dataset_statistics(*train);
  CHECK(statistics.class_counts == std::vector<std::int64_t>(10, 6000));
  CHECK(statistics.sizes.at({28, 28, 1}) == 60000);
  CHECK(statistics.mean[0] == Approx(0.2860).margin(5e-5));  // as published everywhere
  CHECK(statistics.deviation[0] == Approx(0.3530).margin(5e-5));
}
