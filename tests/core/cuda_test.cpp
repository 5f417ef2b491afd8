#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "core/download.h"
#include "core/random.h"
#include "core/upload.h"
#include "tests/core/cuda_probe.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/cuda.h"

using namespace replk;
using namespace replk::test;

namespace {

const Device kCuda = Device::cuda();
constexpr std::array kAllDTypes = {DType::f32, DType::f64, DType::bf16, DType::f16, DType::u8, DType::i64};

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

Tensor counting_bytes(std::int64_t n) {
  Tensor x = Tensor::empty({n}, DType::u8);
  for (std::int64_t i = 0; i < n; ++i) x.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(7 * i + i / 256);
  return x;
}

}  // namespace

TEST_CASE("core/cuda/asking for a GPU never throws") {
  CHECK(cuda_available() == cuda_unavailable_reason().empty());
  if (cuda_available()) return;
  check_error([] { Tensor::zeros({1}, DType::f32, kCuda); }, {"cuda:0"});
  check_error([] { device_info(kCuda); }, {"cuda:0", cuda_unavailable_reason()});
  const Tensor x = Tensor::pinned({5});  // plain memory then
  CHECK(x.device() == Device::cpu());
}

TEST_CASE("core/cuda/device_info") {
  CHECK(device_info(Device::cpu()).name == "CPU");
  if (!cuda_or_skip("device_info")) return;
  const DeviceInfo info = device_info(kCuda);
  INFO(info.name << ", compute capability " << info.compute_capability_major << '.'
                 << info.compute_capability_minor);
  CHECK_FALSE(info.name.empty());
  CHECK(info.compute_capability_major >= 8);
  CHECK(info.multiprocessors > 0);
  CHECK(info.total_bytes > 0);
  CHECK(info.free_bytes <= info.total_bytes);
  check_error([] { Tensor::empty({1}, DType::f32, Device::cuda(1)); }, {"cuda:1", "CUDA_VISIBLE_DEVICES=1"});
}

TEST_CASE("core/cuda/copies keep every byte") {
  if (!cuda_or_skip("copies")) return;
  for (const std::int64_t n : {0, 1, 3, 255, 4097, 3 << 20}) {
    INFO(n << " bytes");
    const Tensor host = counting_bytes(n), device = host.to(kCuda);
    CHECK(device.device() == kCuda);
    CHECK(same_bytes(device.to(Device::cpu()), host));
    const Tensor copy = device.clone();
    CHECK_FALSE(copy.shares_storage(device));
    CHECK(same_bytes(copy.to(Device::cpu()), host));
    if (n < 3) continue;
    Tensor target = Tensor::zeros({n}, DType::u8, kCuda);
    target.slice(1, n).copy_from(device.slice(0, n - 1));  // both ends misaligned
    const Values got = target.to_vector(), from = host.to_vector();
    CHECK(got[0] == 0);
    CHECK(std::equal(got.begin() + 1, got.end(), from.begin()));
  }
}

TEST_CASE("core/cuda/the source of a copy may be overwritten at once") {
  if (!cuda_or_skip("overwritten sources")) return;
  for (const bool pinned : {false, true}) {
    INFO((pinned ? "page-locked" : "pageable"));
    const std::int64_t n = 8 << 20;
    Tensor host = pinned ? Tensor::pinned({n}) : Tensor::empty({n});
    host.fill(1);
    const Tensor device = host.to(kCuda);
    host.fill(2);
    const Values values = device.to_vector();
    CHECK(std::count(values.begin(), values.end(), 1.0) == n);
  }
}

TEST_CASE("core/cuda/fill") {
  if (!cuda_or_skip("fill")) return;
  for (const DType dtype : kAllDTypes)
    for (const std::int64_t n : {1, 5, 31, 1000, 70001})
      for (const std::int64_t skip : {0, 1}) {  // with 1 the memory is not aligned
        INFO(dtype << ", " << n << " elements, first " << skip);
        Tensor x = Tensor::full({n + 2}, 1, dtype, kCuda);
        Tensor part = x.slice(skip, skip + n);
        part.fill(3);
        Values expected(static_cast<std::size_t>(n + 2), 1.0);
        std::fill_n(expected.begin() + skip, n, 3.0);
        CHECK(x.to_vector() == expected);
      }
  CHECK(Tensor::full({}, -2.5, DType::bf16, kCuda).item() == -2.5);
  CHECK(Tensor::zeros({0, 3}, DType::f32, kCuda).to_vector().empty());
}

TEST_CASE("core/cuda/allocator reuses and counts") {
  if (!cuda_or_skip("allocator")) return;
  Allocator& allocator = allocator_for(kCuda);
  const MemoryStats before = allocator.stats();
  const void* first;
  {
    const Tensor x = Tensor::empty({1 << 20}, DType::f32, kCuda);
    first = x.raw();
    CHECK(reinterpret_cast<std::uintptr_t>(first) % 256 == 0);
    CHECK(allocator.stats().in_use - before.in_use >= 4 << 20);
  }
  CHECK(allocator.stats().in_use == before.in_use);
  CHECK(Tensor::empty({1 << 20}, DType::f32, kCuda).raw() == first);
  allocator.release_cached();
  CHECK(allocator.stats().cached == 0);
  allocator.reset_peak();
  CHECK(allocator.stats().peak == allocator.stats().in_use);
}

TEST_CASE("core/cuda/out of memory says what was asked and what there is") {
  if (!cuda_or_skip("out of memory")) return;
  const std::int64_t total = device_info(kCuda).total_bytes;
  { const Tensor kept = Tensor::empty({64 << 20}, DType::u8, kCuda); }
  check_error([&] { Tensor::empty({2 * total}, DType::u8, kCuda); },
              {"memory", str(2 * total, " bytes"), "cuda:0", "in use", "are free", "smaller batch"});
  CHECK(allocator_for(kCuda).stats().cached == 0);  // it gave back what it kept before it gave up
  CHECK(Tensor::full({3}, 5, DType::f32, kCuda).to_vector() == Values(3, 5.0));  // and the GPU still works
}

TEST_CASE("core/cuda/upload arrives before what is launched after get") {
  Tensor batch = Tensor::pinned({1000});
  batch.fill(4);
  CHECK(Upload(batch, Device::cpu()).get().shares_storage(batch));
  check_error([] { Upload().get(); }, {"Upload::get"});
  if (!cuda_or_skip("upload")) return;
  const std::int64_t n = 16 << 20;
  std::vector<Tensor> results;
  for (int step = 0; step < 6; ++step) {
    Tensor host = Tensor::pinned({n});
    host.fill(step);
    Upload upload(host, kCuda);
    // Takes the memory of what was just freed, of which kernels may not be done yet.
    { const Tensor busy = Tensor::full({n}, -1, DType::f32, kCuda).clone(); }
    results.push_back(upload.get().clone());
    synchronize(kCuda);
    CHECK(upload.done());
  }
  for (int step = 0; step < 6; ++step) {
    const Values values = results[static_cast<std::size_t>(step)].to_vector();
    CHECK(std::count(values.begin(), values.end(), static_cast<double>(step)) == n);
  }
}

TEST_CASE("core/cuda/philox has the bits of the CPU") {
  if (!cuda_or_skip("philox")) return;
  if constexpr (kHasCuda) {
    const std::uint64_t seed = 0x123456789abcdef0u, stream = stream_of("test");
    const Values got = philox_on_cuda(seed, stream, 1000).to_vector();
    for (std::uint64_t i = 0; i < 1000; ++i) {
      const auto words = philox(seed, stream, i);
      for (std::size_t k = 0; k < 4; ++k) REQUIRE(got[4 * i + k] == static_cast<double>(words[k]));
    }
  }
}

TEST_CASE("core/cuda/row sums are right and the same on every run") {
  if (!cuda_or_skip("row sums")) return;
  if constexpr (kHasCuda)
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
      for (const Shape& shape : {Shape{1, 1}, Shape{3, 7}, Shape{5, 31}, Shape{2, 33}, Shape{4, 256},
                                 Shape{1, 8193}, Shape{3, 65536}, Shape{1, 1 << 20}, Shape{1, 1000003},
                                 Shape{700, 40}, Shape{1500, 9000}, Shape{2, 0}}) {
        INFO(dtype << ' ' << shape);
        const Tensor x = random_tensor(shape, 3, -1, 1, dtype), sums = row_sums_on_cuda(x.to(kCuda));
        const Values values = x.to_vector(), got = sums.to_vector();
        for (std::int64_t r = 0, i = 0; r < shape[0]; ++r) {
          double sum = 0, squares = 0;
          for (std::int64_t j = 0; j < shape[1]; ++j, ++i) {
            const double value = values[static_cast<std::size_t>(i)];
            sum += value, squares += value * value;
          }
          const auto row = static_cast<std::size_t>(r);
          const double tolerance = 1e-13 * static_cast<double>(shape[1] + 1);
          REQUIRE(std::abs(got[2 * row] - sum) <= tolerance);
          REQUIRE(std::abs(got[2 * row + 1] - squares) <= tolerance);
        }
        CHECK(row_sums_on_cuda(x.to(kCuda)).to_vector() == got);
      }
}

TEST_CASE("core/cuda/rowwise reaches every element once") {
  if (!cuda_or_skip("rowwise")) return;
  if constexpr (kHasCuda)
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16})
      for (const Shape& shape : {Shape{1, 1}, Shape{3, 7}, Shape{5, 1024}, Shape{2, 4095}, Shape{2, 4104},
                                 Shape{1000, 8}, Shape{3, 70000}, Shape{3, 0}}) {
        INFO(dtype << ' ' << shape);
        Tensor x = Tensor::full(shape, 2, dtype, kCuda);
        const Values factors = random_tensor({shape[0]}, 5, -1, 1, dtype).to_vector();
        const Tensor factor = random_tensor({shape[0]}, 5, -1, 1, dtype).to(kCuda);
        const Values got = scaled_rows_on_cuda(x, factor).to_vector();
        for (std::size_t i = 0; i < got.size(); ++i)  // doubling is exact in every dtype
          REQUIRE(got[i] == 2 * factors[i / static_cast<std::size_t>(shape[1])]);
      }
}

// Run by the test below in a process of its own, which is of no use afterwards.
TEST_CASE("core/cuda/planted fault", "[.]") {
  if constexpr (kHasCuda) {
    fault_on_cuda();
    Tensor::zeros({1}, DType::f32, kCuda).item();
  }
}

TEST_CASE("core/cuda/REPLK_SYNC names the kernel at fault") {
  if (!cuda_or_skip("REPLK_SYNC")) return;
  if (device_info(kCuda).name == "emulated GPU") return;  // there a fault ends the process
  std::array<char, 4096> self{};
  REQUIRE(readlink("/proc/self/exe", self.data(), self.size() - 1) > 0);
  for (const bool sync : {false, true}) {
    const std::string command =
        str("REPLK_SYNC=", sync ? 1 : 0, " '", self.data(), "' 'core/cuda/planted fault' 2>&1");
    FILE* pipe = popen(command.c_str(), "r");
    REQUIRE(pipe != nullptr);
    std::string output;
    for (int c; (c = std::fgetc(pipe)) != EOF;) output += static_cast<char>(c);
    CHECK(pclose(pipe) != 0);
    INFO(command << "\n" << output);
    if (sync)
      CHECK(output.find("kernel of planted fault") != std::string::npos);
    else
      CHECK(output.find("REPLK_SYNC=1") != std::string::npos);
  }
}

TEST_CASE("core/cuda/download brings what was there when it was started") {
  const Tensor here = Tensor::full({3}, 7);
  CHECK(Download(here).get().shares_storage(here));
  check_error([] { Download().get(); }, {"Download::get"});
  check_error([] { Download{Tensor()}; }, {"Download", "got none"});
  if (!cuda_or_skip("download")) return;
  const std::int64_t n = 8 << 20;
  std::vector<Download> downloads;
  for (int step = 0; step < 6; ++step) {
    Tensor value = Tensor::full({n}, step, DType::f32, kCuda);
    downloads.emplace_back(value);
    value = Tensor();  // its memory may be handed out again, and is written
    const Tensor busy = Tensor::full({n}, -1, DType::f32, kCuda);
  }
  for (int step = 0; step < 6; ++step) {
    const Values values = downloads[static_cast<std::size_t>(step)].get().to_vector();
    CHECK(std::count(values.begin(), values.end(), static_cast<double>(step)) == n);
  }
}
