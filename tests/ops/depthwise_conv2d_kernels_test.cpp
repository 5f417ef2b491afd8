// The tuned kernels, each forced, on every instruction set, against the naive one.
#include <cmath>
#include <cstring>
#include <limits>

#include "core/parallel.h"
#include "ops/depthwise_conv2d/depthwise_conv2d.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/instruction_sets.h"

using namespace replk;
using namespace replk::test;

namespace {

// A call in f64 whose inputs are exact in f32, and what the naive kernel makes of it.
struct Call {
  Tensor x, weight, bias, dy, start_dx, start_dw;  // start: what gradients are added to
  DepthwiseConv2dGeometry g;

  Call(std::int64_t channels, std::int64_t batch, Extent2d map, Extent2d kernel, Extent2d stride,
       Extent2d padding)
      : x(values({channels, batch, map.h, map.w}, 1)),
        weight(values({channels, 1, kernel.h, kernel.w}, 2)),
        bias(values({channels}, 3)),
        g(DepthwiseConv2dGeometry::of(x, weight, bias, {.stride = stride, .padding = padding})) {
    dy = values(g.output_shape(), 4);
    start_dx = values(x.shape(), 5), start_dw = values(weight.shape(), 6);
  }
  std::string name() const {
    return str("x ", x.shape(), " kernel ", g.kernel, " stride ", g.stride, " padding ", g.padding);
  }
  Call cast(DType dtype) const {
    Call c = *this;
    for (Tensor* t : {&c.x, &c.weight, &c.bias, &c.dy, &c.start_dx, &c.start_dw}) *t = to(*t, dtype);
    return c;
  }

 private:
  static Tensor to(const Tensor& t, DType dtype) {
    Tensor result = Tensor::empty(t.shape(), dtype);
    visit_real("test", dtype, [&]<class T>(TypeTag<T>) {
      for (std::int64_t i = 0; i < t.numel(); ++i) result.data<T>()[i] = static_cast<T>(t.data<double>()[i]);
    });
    return result;
  }
  static Tensor values(const Shape& shape, std::uint64_t seed) {
    Tensor t = random_tensor(shape, seed);
    for (std::int64_t i = 0; i < t.numel(); ++i)
      t.data<double>()[i] = static_cast<float>(t.data<double>()[i]);
    return t;
  }
};

// What a call gives: y, dx, dweight; the last two also added to others, and from the fused backward pass.
struct Results {
  std::vector<Tensor> tensors;
  static constexpr const char* kNames[] = {"y",
                                           "y with bias",
                                           "dx",
                                           "dweight",
                                           "dx added",
                                           "dweight added",
                                           "fused dx",
                                           "fused dweight",
                                           "fused dx added",
                                           "fused dweight added"};
};

// Where a kernel leaves out an element it stays NaN.
Tensor unwritten(const Tensor& like) {
  return Tensor::full(like.shape(), std::numeric_limits<double>::quiet_NaN(), like.dtype());
}

Results run(const Call& c, DepthwiseKernel kernel) {
  DepthwiseConv2dGeometry g = c.g;
  g.forced = kernel;
  Results r;
  for (const bool biased : {false, true}) {
    Tensor y = unwritten(c.dy);
    cpu::depthwise_conv2d_forward(g, c.x, c.weight, biased ? c.bias : Tensor(), y);
    r.tensors.push_back(y);
  }
  for (const bool fused : {false, true})
    for (const bool accumulate : {false, true}) {
      const GradTarget dx{accumulate ? c.start_dx.clone() : unwritten(c.x), accumulate};
      const GradTarget dw{accumulate ? c.start_dw.clone() : unwritten(c.weight), accumulate};
      if (fused) {
        cpu::depthwise_conv2d_backward(g, c.x, c.weight, c.dy, dx, dw);
      } else {
        cpu::depthwise_conv2d_backward_input(g, c.weight, c.dy, dx);
        cpu::depthwise_conv2d_backward_weight(g, c.x, c.dy, dw);
      }
      r.tensors.push_back(dx.tensor);
      r.tensors.push_back(dw.tensor);
    }
  return r;
}

// The same from one run of each pass of the naive kernel, and sums.
Results reference(const Call& c) {
  Tensor y = unwritten(c.dy), dx = unwritten(c.x), dw = unwritten(c.weight);
  cpu::depthwise_conv2d_forward_naive(c.g, c.x, c.weight, {}, y);
  cpu::depthwise_conv2d_backward_input_naive(c.g, c.weight, c.dy, {dx, false});
  cpu::depthwise_conv2d_backward_weight_naive(c.g, c.x, c.dy, {dw, false});
  const auto sum = [](const Tensor& a, const Tensor& b) {
    Tensor result = a.clone();
    const std::int64_t repeats = a.numel() / b.numel();  // of each element of b: a bias
    for (std::int64_t i = 0; i < a.numel(); ++i) result.data<double>()[i] += b.data<double>()[i / repeats];
    return result;
  };
  const Tensor dx_added = sum(dx, c.start_dx), dw_added = sum(dw, c.start_dw);
  return {{y, sum(y, c.bias), dx, dw, dx_added, dw_added, dx, dw, dx_added, dw_added}};
}

// Errors are relative to the largest value; sums of many products, or transforms of many points, err more.
void check_near(const Results& got, const Results& expected, const Call& c) {
  const bool f32 = c.x.dtype() == DType::f32;
  const double eps = f32 ? std::numeric_limits<float>::epsilon() : std::numeric_limits<double>::epsilon();
  for (std::size_t i = 0; i < got.tensors.size(); ++i) {
    const bool of_weight = std::strstr(Results::kNames[i], "dweight") != nullptr;
    const std::int64_t terms = std::max(c.g.taps(), of_weight ? c.g.batch * c.g.output.area() : 0);
    const Values want = expected.tensors[i].to_vector();
    // Of the sum before something was added to it, which may have cancelled it.
    const Values plain = expected.tensors[i < 2 ? 0 : 2 + i % 2].to_vector();
    const double largest = max_magnitude(want, max_magnitude(plain));
    const double bound = eps * (16 + 4 * std::sqrt(static_cast<double>(terms))) * largest;
    const double error = max_difference(got.tensors[i].to_vector(), want);
    INFO(Results::kNames[i] << ": error " << error << ", bound " << bound);
    CHECK(error <= bound);
  }
}

std::vector<DepthwiseKernel> tuned_kernels(const Call& c) {
  std::vector<DepthwiseKernel> kernels;
  for (const auto kernel : {DepthwiseKernel::direct, DepthwiseKernel::rows, DepthwiseKernel::fft})
    if (depthwise_kernel_applies(kernel, c.g)) kernels.push_back(kernel);
  return kernels;
}

void check_kernels(const Call& exact) {
  const Results expected = reference(exact);
  const Call rounded = exact.cast(DType::f32);
  for_each_instruction_set([&] {
    for (const DepthwiseKernel kernel : tuned_kernels(exact))
      for (const Call* c : {&exact, &rounded}) {
        INFO(name_of(kernel) << " " << c->x.dtype() << " " << c->name());
        check_near(run(*c, kernel), expected, *c);
      }
  });
}

// Channels around every vector length, batches odd and even: a different pair for each call of next().
class Sizes {
 public:
  Call next(Extent2d map, Extent2d kernel, Extent2d stride, Extent2d padding) {
    constexpr std::int64_t kChannels[] = {1, 15, 16, 17, 33}, kBatches[] = {1, 2, 3, 5};
    const std::size_t i = count_++;
    return {kChannels[i % 5], kBatches[(i + i / 4) % 4], map, kernel, stride, padding};
  }

 private:
  std::size_t count_ = 0;
};

// No padding, half of the kernel, more than the kernel, and one that differs by axis; those that leave
// outputs.
std::vector<Extent2d> paddings(Extent2d map, std::int64_t k) {
  std::vector<Extent2d> result = {Extent2d(k / 2), Extent2d(k + 2), {k / 2, k}};
  if (map.h >= k && map.w >= k) result.push_back(0);
  return result;
}

std::vector<Values> bits(const Results& r) {
  std::vector<Values> values;
  for (const Tensor& t : r.tensors) values.push_back(t.to_vector());
  return values;
}

}  // namespace

TEST_CASE("ops/depthwise_conv2d/kernels_agree_at_stride_1") {
  Sizes sizes;
  for (const Extent2d map : {Extent2d(1), {3, 2}, {7, 7}, {14, 13}, {28, 30}, {57, 9}})
    for (const std::int64_t k : {1, 3, 5, 7, 9, 13, 27, 31})
      for (const Extent2d padding : paddings(map, k)) {
        if (map.area() > 150 && k > 13 && padding != Extent2d(k / 2)) continue;  // for the time it takes
        check_kernels(sizes.next(map, k, 1, padding));
      }
  check_kernels(sizes.next({9, 20}, {2, 8}, 1, {1, 3}));  // even, not square
  check_kernels(sizes.next({2, 515}, 3, 1, 1));
}

TEST_CASE("ops/depthwise_conv2d/kernels_agree_at_stride_2") {
  Sizes sizes;
  for (const Extent2d map : {Extent2d(1), {3, 2}, {7, 7}, {8, 14}, {14, 13}, {28, 30}, {57, 9}})
    for (const std::int64_t k : {1, 2, 3, 5, 7, 9})
      for (const Extent2d padding : paddings(map, k)) {
        if (map.h + 2 * padding.h < k || map.w + 2 * padding.w < k) continue;
        check_kernels(sizes.next(map, k, 2, padding));
      }
  check_kernels(sizes.next({3, 515}, 3, 2, 1));
}

TEST_CASE("ops/depthwise_conv2d/same_bits_for_any_number_of_threads") {
  struct Restore {
    int threads = num_threads();
    ~Restore() { set_num_threads(threads); }
  } restore;
  // Enough work for three threads; few channels, so that sums over samples are cut into parts, and many.
  for (const std::int64_t channels : {5, 70})
    for (const std::int64_t batch : {1, 5})
      for (const std::int64_t stride : {1, 2}) {
        const Call c = Call(channels, batch, {28, 30}, 9, stride, 4).cast(DType::f32);
        std::vector<DepthwiseKernel> kernels = tuned_kernels(c);
        if (channels == 5) kernels.push_back(DepthwiseKernel::naive);
        for (const DepthwiseKernel kernel : kernels) {
          INFO(name_of(kernel) << " " << c.name());
          set_num_threads(1);
          const std::vector<Values> one = bits(run(c, kernel));
          for (const int threads : {2, 3}) {
            set_num_threads(threads);
            const std::vector<Values> more = bits(run(c, kernel));
            for (std::size_t i = 0; i < one.size(); ++i) {
              INFO(Results::kNames[i] << " with " << threads << " threads");
              CHECK(one[i] == more[i]);
            }
          }
        }
      }
}

TEST_CASE("ops/depthwise_conv2d/a_forced_kernel_is_the_one_that_runs") {
  const Call c = Call(17, 2, 14, 9, 1, 4).cast(DType::f32);
  Tensor y = unwritten(c.dy);
  cpu::depthwise_conv2d_forward_fft(c.g, c.x, c.weight, {}, y);
  const Values fft = y.to_vector();
  cpu::depthwise_conv2d_forward_direct(c.g, c.x, c.weight, {}, y);
  const Values direct = y.to_vector();
  cpu::depthwise_conv2d_forward_naive(c.g, c.x, c.weight, {}, y);
  const Values naive = y.to_vector();
  REQUIRE((fft != direct && direct != naive && naive != fft));  // rounded differently
  const auto forced = [&](DepthwiseKernel kernel) {
    return depthwise_conv2d(c.x, c.weight, {}, {.padding = 4, .kernel = kernel}).data().to_vector();
  };
  CHECK(forced(DepthwiseKernel::fft) == fft);
  CHECK(forced(DepthwiseKernel::direct) == direct);
  CHECK(forced(DepthwiseKernel::naive) == naive);

  const Call small = Call(17, 2, 14, 5, 1, 2).cast(DType::f32);
  y = unwritten(small.dy);
  cpu::depthwise_conv2d_forward_rows(small.g, small.x, small.weight, {}, y);
  const Values by_rows = y.to_vector();
  CHECK(depthwise_conv2d(small.x, small.weight, {}, {.padding = 2, .kernel = DepthwiseKernel::rows})
            .data()
            .to_vector() == by_rows);
  cpu::depthwise_conv2d_forward_direct(small.g, small.x, small.weight, {}, y);
  REQUIRE(y.to_vector() != by_rows);  // rounded differently
  const Call strided = Call(2, 1, 14, 5, 2, 2).cast(DType::f32);
  check_error(
      [&] {
        cpu::depthwise_conv2d_backward_input_rows(strided.g, strided.weight, strided.dy,
                                                  {unwritten(strided.x), false});
      },
      {"rows", "no input gradient", "stride 2x2"});
}

TEST_CASE("ops/depthwise_conv2d/prepared_spectra_follow_the_weight_and_the_sizes") {
  Prepared prepared;
  Tensor weight = random_tensor({17, 1, 5, 5}, 1, -1, 1, DType::f32);
  const auto check = [&](Extent2d map, Extent2d padding) {
    INFO("map " << map << " padding " << padding);
    const Tensor x = random_tensor({17, 3, map.h, map.w}, 2, -1, 1, DType::f32);
    DepthwiseConv2dParams params{.padding = padding, .kernel = DepthwiseKernel::fft};
    const Values fresh = depthwise_conv2d(x, weight, {}, params).data().to_vector();
    params.prepared = &prepared;
    for (int i = 0; i < 2; ++i) CHECK(depthwise_conv2d(x, weight, {}, params).data().to_vector() == fresh);
  };
  for_each_instruction_set([&] { check(10, 2); });  // their spectra lie differently in memory
  check(10, 2);
  weight.data<float>()[7] += 1;
  check(10, 2);
  check({10, 12}, {2, 1});  // transforms of the same length for another padding
  check({10, 12}, {1, 2});
  check({10, 12}, 2);
  check({12, 10}, 2);
  check({31, 10}, 2);
  weight = random_tensor({17, 1, 5, 5}, 3, -1, 1, DType::f32);
  check({31, 10}, 2);
  weight = random_tensor({17, 1, 3, 3}, 4, -1, 1, DType::f32);
  check({31, 10}, 2);
}
