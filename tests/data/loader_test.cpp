#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "core/error.h"
#include "data/rand_augment.h"
#include "data/sampler.h"
#include "data/subset.h"
#include "tests/data/data_support.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

Pipeline augmentation() {
  return {RandomCrop{.padding = 2}, HorizontalFlip{}, RandAugment::parse("rand-m9-mstd0.5-inc1"),
          ColorJitter{}, RandomErasing{}};
}

// Everything a batch holds, in a form that can be compared.
struct Record {
  Shape shape;
  Bytes pixels;
  std::vector<std::int64_t> labels, indices;
  std::int64_t epoch, index;
  bool operator==(const Record&) const = default;
};

Record record_of(const Batch& batch) {
  const auto* pixels = batch.images.data<std::uint8_t>();
  const auto* labels = batch.labels.data<std::int64_t>();
  return {batch.images.shape(),
          Bytes(pixels, pixels + batch.images.numel()),
          std::vector<std::int64_t>(labels, labels + batch.labels.numel()),
          batch.indices,
          batch.epoch,
          batch.index};
}

std::vector<Record> rest_of_epoch(Loader& loader) {
  std::vector<Record> records;
  while (const auto batch = loader.next()) records.push_back(record_of(*batch));
  return records;
}

std::vector<Record> epoch_of(Loader& loader, std::int64_t epoch, std::int64_t first = 0) {
  loader.start(epoch, first);
  return rest_of_epoch(loader);
}

// A data set with one sample that cannot be read.
class BrokenDataset final : public Dataset {
 public:
  enum class Fault { file, other, size };
  BrokenDataset(std::int64_t broken, Fault fault) : broken_(broken), fault_(fault) {}
  std::string name() const override { return "broken"; }
  const std::vector<std::string>& classes() const override { return classes_; }
  std::int64_t size() const override { return 40; }
  std::int64_t label(std::int64_t) const override { return 0; }
  Sample get(std::int64_t index) const override {
    if (index == broken_ && fault_ == Fault::file) throw FileError("byte 3: rubbish");
    if (index == broken_ && fault_ == Fault::other) throw std::runtime_error("no reason");
    return {.image = Image::filled(index == broken_ ? 3 : 2, 2, 1), .label = 0};
  }

 private:
  std::int64_t broken_;
  Fault fault_;
  std::vector<std::string> classes_ = {"only"};
};

// A data set whose first sample takes much longer than all others together.
class UnevenDataset final : public Dataset {
 public:
  std::string name() const override { return "uneven"; }
  const std::vector<std::string>& classes() const override { return classes_; }
  std::int64_t size() const override { return 12; }
  std::int64_t label(std::int64_t) const override { return 0; }
  Sample get(std::int64_t index) const override {
    if (index == 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return {.image = Image::filled(2, 2, 1), .label = 0};
  }

 private:
  std::vector<std::string> classes_ = {"only"};
};

// A data set that takes its time.
class SlowDataset final : public Dataset {
 public:
  std::string name() const override { return "slow"; }
  const std::vector<std::string>& classes() const override { return classes_; }
  std::int64_t size() const override { return 100000; }
  std::int64_t label(std::int64_t) const override { return 0; }
  Sample get(std::int64_t) const override {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return {.image = Image::filled(2, 2, 1), .label = 0};
  }

 private:
  std::vector<std::string> classes_ = {"only"};
};

bool is_permutation_of_all(std::vector<std::int64_t> order) {
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < order.size(); ++i)
    if (order[i] != static_cast<std::int64_t>(i)) return false;
  return true;
}

}  // namespace

TEST_CASE("data/sampler/permutation") {
  for (const std::int64_t n : {0, 1, 2, 3, 1000}) {
    const auto order = permutation(n, Random(3));
    CHECK(static_cast<std::int64_t>(order.size()) == n);
    CHECK(is_permutation_of_all(order));
  }
  // All 24 orders of four, equally often: 1000 expected, standard deviation 31.
  std::map<std::vector<std::int64_t>, int> seen;
  for (std::uint64_t seed = 0; seed < 24000; ++seed) ++seen[permutation(4, Random(seed))];
  CHECK(seen.size() == 24);
  for (const auto& [order, count] : seen) CHECK(std::abs(count - 1000) < 160);
}

TEST_CASE("data/sampler/epochs") {
  const auto first = epoch_order(500, true, 1, 0);
  CHECK(is_permutation_of_all(first));
  CHECK(first == epoch_order(500, true, 1, 0));
  CHECK(first != epoch_order(500, true, 1, 1));
  CHECK(first != epoch_order(500, true, 2, 0));
  CHECK(!std::is_sorted(first.begin(), first.end()));
  const auto plain = epoch_order(500, false, 1, 1);
  CHECK(is_permutation_of_all(plain));
  CHECK(std::is_sorted(plain.begin(), plain.end()));
  // Neighbouring samples, epochs and seeds draw different numbers; the same key draws the same.
  CHECK(sample_random(1, 2, 3).next() == sample_random(1, 2, 3).next());
  CHECK(sample_random(1, 2, 3).next() != sample_random(1, 2, 4).next());
  CHECK(sample_random(1, 2, 3).next() != sample_random(1, 3, 2).next());
  CHECK(sample_random(1, 2, 3).next() != sample_random(2, 2, 3).next());
}

TEST_CASE("data/subset/parts") {
  const auto dataset = random_dataset(50, 3, 3, 1);
  const auto first = first_samples(dataset, 7);
  CHECK(first->size() == 7);
  CHECK(first->get(6).image == dataset->get(6).image);
  const auto some = random_samples(dataset, 20, 4);
  CHECK(some->size() == 20);
  CHECK(some->sample_name(0) == random_samples(dataset, 20, 4)->sample_name(0));

  const auto parts = split_validation(dataset, 15, 3);
  REQUIRE(parts.train->size() == 35);
  REQUIRE(parts.validation->size() == 15);
  std::vector<std::int64_t> originals;
  for (const auto& part : {parts.train, parts.validation})
    for (std::int64_t i = 0; i < part->size(); ++i) {
      const auto original = dynamic_cast<const Subset&>(*part).original(i);
      originals.push_back(original);
      CHECK(part->label(i) == dataset->label(original));
      CHECK(part->get(i).image == dataset->get(original).image);
    }
  CHECK(is_permutation_of_all(originals));
  const auto other = split_validation(dataset, 15, 4);
  bool differs = false;
  for (std::int64_t i = 0; i < 15; ++i)
    differs = differs || other.validation->sample_name(i) != parts.validation->sample_name(i);
  CHECK(differs);

  CHECK_THROWS_AS(first_samples(dataset, 51), UsageError);
  CHECK_THROWS_AS(random_samples(dataset, 0, 1), UsageError);
  CHECK_THROWS_AS(split_validation(dataset, 50, 1), UsageError);
  check_error([&] { Subset(dataset, {3, 50}); }, {"random", "[0, 50)", "got 50"});
}

TEST_CASE("data/loader/batches") {
  const auto dataset = random_dataset(23, 4, 5, 3);
  Loader loader(dataset, {}, {.batch_size = 5});
  CHECK(loader.batches() == 5);
  CHECK(!loader.next());  // not started
  const auto records = epoch_of(loader, 0);
  REQUIRE(records.size() == 5);
  std::int64_t sample = 0;
  for (std::size_t k = 0; k < 5; ++k) {
    const std::int64_t size = k < 4 ? 5 : 3;
    CHECK(records[k].shape == Shape{size, 4, 5, 3});
    CHECK(records[k].index == static_cast<std::int64_t>(k));
    for (std::int64_t i = 0; i < size; ++i, ++sample) {
      CHECK(records[k].indices[static_cast<std::size_t>(i)] == sample);
      CHECK(records[k].labels[static_cast<std::size_t>(i)] == dataset->label(sample));
      const auto begin = records[k].pixels.begin() + i * 60;
      CHECK(Bytes(begin, begin + 60) == dataset->get(sample).image.pixels);
    }
  }
  CHECK(!loader.next());
  Loader dropping(dataset, {}, {.batch_size = 5, .drop_last = true});
  CHECK(dropping.batches() == 4);
  CHECK(epoch_of(dropping, 0) == std::vector<Record>(records.begin(), records.begin() + 4));
}

TEST_CASE("data/loader/threads_do_not_change_a_byte") {
  const auto dataset = random_dataset(203, 9, 8, 3);
  std::vector<Record> expected;
  for (const int workers : {0, 1, 2, 4, 7})
    for (const std::int64_t prefetch : {1, 5}) {
      INFO(workers << " workers, prefetch " << prefetch);
      Loader loader(dataset, augmentation(),
                    {.batch_size = 16, .shuffle = true, .workers = workers, .prefetch = prefetch, .seed = 9});
      std::vector<Record> records;
      for (std::int64_t epoch = 0; epoch < 2; ++epoch)
        for (Record& record : epoch_of(loader, epoch)) records.push_back(std::move(record));
      REQUIRE(records.size() == 26);
      if (expected.empty()) expected = records;
      CHECK(records == expected);
    }
  CHECK(expected[0].indices != expected[13].indices);
  Loader other_seed(dataset, augmentation(), {.batch_size = 16, .shuffle = true, .seed = 10});
  CHECK(epoch_of(other_seed, 0)[0].indices != expected[0].indices);
}

TEST_CASE("data/loader/a_slow_batch_is_waited_for") {
  Loader loader(std::make_shared<UnevenDataset>(), {}, {.batch_size = 1, .workers = 4, .prefetch = 8});
  std::int64_t expected = 0;
  for (const Record& record : epoch_of(loader, 0)) CHECK(record.index == expected++);
  CHECK(expected == 12);
}

TEST_CASE("data/loader/augmentation_depends_on_seed_epoch_and_sample_only") {
  const auto dataset = random_dataset(60, 9, 8, 1);
  Loader shuffled(dataset, augmentation(), {.batch_size = 7, .shuffle = true, .seed = 3});
  Loader ordered(dataset, augmentation(), {.batch_size = 60, .seed = 3});
  const auto reference = epoch_of(ordered, 1)[0];
  for (const Record& record : epoch_of(shuffled, 1))
    for (std::size_t i = 0; i < record.indices.size(); ++i) {
      const auto from = record.pixels.begin() + static_cast<std::ptrdiff_t>(i) * 72;
      const auto to = reference.pixels.begin() + record.indices[i] * 72;
      CHECK(std::equal(from, from + 72, to));
    }
  CHECK(epoch_of(ordered, 2)[0].pixels != reference.pixels);
}

TEST_CASE("data/loader/batches_are_transformed_by_step") {
  const auto dataset = random_dataset(50, 4, 4, 1);
  const BatchTransform transform = [](Batch& batch, std::int64_t step) {
    batch.targets = Tensor::full({1}, static_cast<double>(step));
    batch.images.data<std::uint8_t>()[0] = static_cast<std::uint8_t>(step);
  };
  for (const int workers : {0, 3}) {
    Loader loader(dataset, augmentation(), {.batch_size = 8, .shuffle = true, .workers = workers}, transform);
    loader.start(2, 3);
    for (std::int64_t step = 2 * 7 + 3; step < 3 * 7; ++step) {
      const auto batch = loader.next();
      REQUIRE(batch);
      CHECK(batch->targets.item() == static_cast<double>(step));
      CHECK(batch->images.data<std::uint8_t>()[0] == step);
    }
    CHECK(!loader.next());
  }
  Loader plain(dataset, augmentation(), {.batch_size = 8});
  plain.start(0);
  CHECK(!plain.next()->targets.defined());
}

TEST_CASE("data/loader/resumes_in_the_middle") {
  const auto dataset = random_dataset(100, 4, 4, 1);
  for (const int workers : {0, 3}) {
    const LoaderParams params{.batch_size = 8, .shuffle = true, .workers = workers, .seed = 1};
    Loader whole(dataset, augmentation(), params), resumed(dataset, augmentation(), params);
    const auto all = epoch_of(whole, 4);
    CHECK(epoch_of(resumed, 4, 5) == std::vector<Record>(all.begin() + 5, all.end()));
    CHECK(epoch_of(resumed, 4, 13).empty());
    // Starting again in the middle of an epoch drops what was under way.
    whole.start(0);
    whole.next();
    CHECK(epoch_of(whole, 4) == all);
    check_error([&] { resumed.start(0, 14); }, {"loader", "[0, 13]", "batch 14"});
  }
}

TEST_CASE("data/loader/errors_reach_the_consumer_with_the_name_of_the_sample") {
  using Fault = BrokenDataset::Fault;
  const auto workers = GENERATE(0, 1, 4);
  const auto run = [&](Fault fault) {
    Loader loader(std::make_shared<BrokenDataset>(17, fault), {}, {.batch_size = 5, .workers = workers});
    loader.start(0);
    for (int batch = 0; batch < 3; ++batch) REQUIRE(loader.next());
    std::string message;
    try {
      loader.next();
    } catch (const FileError& error) {
      message = str("FileError ", error.what());
    } catch (const Error& error) {
      message = error.what();
    }
    // The batches after the broken one are still there.
    const auto rest = rest_of_epoch(loader);
    REQUIRE(rest.size() == 4);
    CHECK(rest[0].index == 4);
    return message;
  };
  CHECK(run(Fault::file) == "FileError broken #17: byte 3: rubbish");
  CHECK(run(Fault::other) == "broken #17: no reason");
  CHECK(
      run(Fault::size) ==
      "broken #17: an image of 2x2x1 expected, like broken #15, got 3x2x1. Resize or crop all to one size.");
}

TEST_CASE("data/loader/ends_in_the_middle_without_waiting_for_the_epoch") {
  for (const std::int64_t prefetch : {1, 8}) {
    Loader loader(std::make_shared<SlowDataset>(), {},
                  {.batch_size = 50, .workers = 4, .prefetch = prefetch});
    loader.start(0);  // would take minutes to the end
    REQUIRE(loader.next());
    loader.start(1);
    REQUIRE(loader.next());
  }
  const Loader never_started(std::make_shared<SlowDataset>(), {}, {.workers = 4});
  CHECK(never_started.batches() > 0);
}

TEST_CASE("data/loader/usage_errors") {
  const auto dataset = random_dataset(10, 2, 2, 1);
  const auto make = [&](LoaderParams params) { return [=] { Loader(dataset, {}, params); }; };
  CHECK_THROWS_AS(make({.batch_size = 0})(), UsageError);
  check_error(make({.batch_size = 0}), {"loader", "batch size", "got 0"});
  check_error(make({.workers = -1}), {"workers", "got -1"});
  check_error(make({.prefetch = 0}), {"prefetch", "got 0"});
  check_error(make({.batch_size = 11, .drop_last = true}), {"a whole batch of 11", "10 samples"});
  CHECK(Loader(dataset, {}, {.batch_size = 11}).batches() == 1);
}
