// Which kernel runs, and what the choice is made from: products of the direct kernel, lengths of transforms.
#include <numeric>

#include "ops/depthwise_conv2d/correlation.h"
#include "ops/depthwise_conv2d/fft_length.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr DepthwisePass kPasses[] = {DepthwisePass::forward, DepthwisePass::backward_input,
                                     DepthwisePass::backward_weight};

DepthwiseConv2dGeometry geometry(std::int64_t batch, Extent2d map, Extent2d kernel,
                                 const DepthwiseConv2dParams& params) {
  return DepthwiseConv2dGeometry::of(Tensor::empty({2, batch, map.h, map.w}),
                                     Tensor::empty({2, 1, kernel.h, kernel.w}), {}, params);
}

// Along one axis output o of `outs` meets element `a` of the `as` that it is multiplied with.
using Meets = std::function<bool(std::int64_t o, std::int64_t a)>;

std::int64_t meetings(std::int64_t outs, std::int64_t as, const Meets& meets) {
  std::int64_t count = 0;
  for (std::int64_t o = 0; o < outs; ++o)
    for (std::int64_t a = 0; a < as; ++a) count += meets(o, a);
  return count;
}

// The same where 7 outputs are computed together, and each meets what any of them does.
std::int64_t meetings_of_tiles(std::int64_t outs, std::int64_t as, const Meets& meets) {
  std::int64_t count = 0;
  for (std::int64_t first = 0; first < outs; first += 7)
    for (std::int64_t a = 0; a < as; ++a) {
      bool any = false;
      for (std::int64_t o = first; o < std::min(first + 7, outs); ++o) any = any || meets(o, a);
      count += any ? 7 : 0;
    }
  return count;
}

// The sizes of one axis.
struct Axis {
  std::int64_t in, out, kernel, stride, padding;
  bool read(std::int64_t o, std::int64_t tap) const {
    const std::int64_t i = o * stride - padding + tap;
    return i >= 0 && i < in;
  }
  // Input h reads no output but the one whose tap `tap` it is, if there is one.
  bool read_by(std::int64_t h, std::int64_t tap) const {
    const std::int64_t o = h + padding - tap;
    return o >= 0 && o % stride == 0 && o / stride < out;
  }
};

// Products of a plane, counted pair by pair.
std::int64_t counted(const DepthwiseConv2dGeometry& g, DepthwisePass pass) {
  const Axis h{g.input.h, g.output.h, g.kernel.h, g.stride.h, g.padding.h};
  const Axis w{g.input.w, g.output.w, g.kernel.w, g.stride.w, g.padding.w};
  const bool exchangeable = g.stride == Extent2d(1);
  if (pass == DepthwisePass::backward_weight)
    return meetings(h.kernel, h.out, [&](auto u, auto i) { return h.read(i, u); }) *
           meetings_of_tiles(w.kernel, w.out, [&](auto v, auto j) { return w.read(j, v); });
  if (pass == DepthwisePass::forward) {
    const std::int64_t taps =
        meetings_of_tiles(w.out, w.kernel, [&](auto j, auto v) { return w.read(j, v); });
    const std::int64_t pixels = meetings_of_tiles(
        w.out, w.in, [&](auto j, auto i) { return i - j + w.padding >= 0 && i - j + w.padding < w.kernel; });
    return meetings(h.out, h.kernel, [&](auto i, auto u) { return h.read(i, u); }) *
           (exchangeable ? std::min(taps, pixels) : taps);
  }
  std::int64_t total = 0;
  for (std::int64_t rh = 0; rh < g.stride.h; ++rh)
    for (std::int64_t rw = 0; rw < g.stride.w; ++rw) {
      const auto outs = [](const Axis& a, std::int64_t r) { return (a.in - r + a.stride - 1) / a.stride; };
      const std::int64_t taps = meetings_of_tiles(
          outs(w, rw), w.kernel, [&](auto a, auto v) { return w.read_by(w.stride * a + rw, v); });
      const std::int64_t pixels = meetings_of_tiles(outs(w, rw), w.out, [&](auto a, auto j) {
        return a - j + w.padding >= 0 && a - j + w.padding < w.kernel;
      });
      total +=
          meetings(outs(h, rh), h.kernel, [&](auto a, auto u) { return h.read_by(h.stride * a + rh, u); }) *
          (exchangeable ? std::min(taps, pixels) : taps);
    }
  return total;
}

}  // namespace

TEST_CASE("ops/depthwise_conv2d/choice") {
  for (const std::int64_t side : {1, 7, 14, 28, 56})
    for (const std::int64_t k : {1, 3, 5, 7, 13, 31, 51})
      for (const std::int64_t batch : {1, 8, 128})
        for (const DepthwisePass pass : kPasses) {
          INFO("map " << side << " kernel " << k << " batch " << batch);
          const auto g = geometry(batch, side, k, {.padding = k / 2});
          const DepthwiseKernel chosen = choose_depthwise_kernel(g, pass);
          CHECK((chosen == DepthwiseKernel::direct || chosen == DepthwiseKernel::rows ||
                 chosen == DepthwiseKernel::fft));
          if (k == 3 && side >= 28) CHECK(chosen == DepthwiseKernel::rows);
          if (k == 3 && side <= 7) CHECK(chosen == DepthwiseKernel::direct);
          if (k == 31 && side == 56) CHECK(chosen == DepthwiseKernel::fft);
        }
  for (const DepthwisePass pass : kPasses) {
    CHECK(choose_depthwise_kernel(geometry(2, 56, 31, {.stride = 2, .padding = 15}), pass) ==
          DepthwiseKernel::direct);
    CHECK(choose_depthwise_kernel(geometry(2, 56, 31, {.padding = 15, .dilation = 2}), pass) ==
          DepthwiseKernel::naive);
    CHECK(choose_depthwise_kernel(geometry(2, 56, 3, {.stride = {1, 2}, .padding = 1}), pass) ==
          DepthwiseKernel::naive);
    CHECK(choose_depthwise_kernel(geometry(1, {1, 3000}, {1, 31}, {.padding = {0, 15}}), pass) ==
          DepthwiseKernel::direct);
    for (const DepthwiseKernel kernel :
         {DepthwiseKernel::naive, DepthwiseKernel::direct, DepthwiseKernel::fft})
      for (const std::int64_t k : {3, 31})
        CHECK(choose_depthwise_kernel(geometry(2, 56, k, {.padding = k / 2, .kernel = kernel}), pass) ==
              kernel);
  }
}

TEST_CASE("ops/depthwise_conv2d/choice on a GPU") {
  if constexpr (kHasCuda) {
    using enum DepthwiseKernel;
    const auto chosen = [](Extent2d map, std::int64_t k, DType dtype, std::int64_t stride = 1) {
      return cuda::choose_depthwise_kernel(geometry(2, map, k, {.stride = stride, .padding = k / 2}), dtype);
    };
    for (const std::int64_t side : {7, 14, 28, 56})
      for (const std::int64_t k : {3, 5, 7}) {
        INFO("map " << side << " kernel " << k);
        CHECK(chosen(side, k, DType::bf16) == tensor_core);
        CHECK(chosen(side, k, DType::f32) == direct);
        CHECK(chosen(side, k, DType::bf16, 2) == direct);
        CHECK(chosen({side, 9}, k, DType::bf16) == direct);  // odd rows
      }
    CHECK(chosen(64, 3, DType::bf16) == direct);
    CHECK(chosen(64, 5, DType::bf16) == tensor_core);
    CHECK(chosen(14, 9, DType::f32) == fft);
    for (const std::int64_t k : {19, 29}) CHECK(chosen(28, k, DType::bf16) == fft);
    for (const std::int64_t k : {9, 17, 31}) CHECK(chosen(28, k, DType::bf16) == tensor_core);
    CHECK(chosen(28, 29, DType::f16) == tensor_core);
    CHECK(chosen(32, 19, DType::bf16) == tensor_core);
    CHECK(chosen(14, 27, DType::bf16) == tensor_core);
    CHECK(chosen(7, 9, DType::f32) == tensor_core);
    CHECK(chosen(14, 5, DType::f64) == naive);
  }
}

TEST_CASE("ops/depthwise_conv2d/default_kernel") {
  struct Restore {
    ~Restore() { set_default_depthwise_kernel(DepthwiseKernel::automatic); }
  } restore;
  using enum DepthwiseKernel;
  CHECK(default_depthwise_kernel() == automatic);
  const auto same = geometry(2, 14, 5, {.padding = 2}), strided = geometry(2, 14, 5, {.stride = 2}),
             dilated = geometry(2, 14, 5, {.dilation = 2});
  for (const DepthwiseKernel kernel : {naive, direct, fft}) {
    set_default_depthwise_kernel(kernel);
    CHECK(default_depthwise_kernel() == kernel);
    for (const DepthwisePass pass : kPasses) {
      CHECK(choose_depthwise_kernel(same, pass) == kernel);
      // Where it does not apply the fastest one that does runs.
      CHECK(choose_depthwise_kernel(strided, pass) == (kernel == naive ? naive : direct));
      CHECK(choose_depthwise_kernel(dilated, pass) == naive);
      // What a call asks for comes first.
      for (const DepthwiseKernel forced : {naive, direct, fft})
        CHECK(choose_depthwise_kernel(geometry(2, 14, 5, {.padding = 2, .kernel = forced}), pass) == forced);
    }
  }
  set_default_depthwise_kernel(rows);
  for (const DepthwisePass pass : kPasses) {
    CHECK(choose_depthwise_kernel(same, pass) == rows);
    CHECK(choose_depthwise_kernel(strided, pass) == (pass == DepthwisePass::backward_input ? direct : rows));
    CHECK(choose_depthwise_kernel(dilated, pass) == naive);
  }
  CHECK((depthwise_kernel_applies(rows, strided) && !depthwise_kernel_applies(rows, dilated)));
  CHECK_FALSE(depthwise_kernel_applies(rows, geometry(2, 14, 7, {.padding = 3})));
  CHECK((depthwise_kernel_applies(fft, same) && !depthwise_kernel_applies(fft, strided)));
  CHECK((depthwise_kernel_applies(direct, strided) && !depthwise_kernel_applies(direct, dilated)));
  CHECK((depthwise_kernel_applies(naive, dilated) && depthwise_kernel_applies(automatic, dilated)));

  // The operator asks for it too, forward and backward.
  const auto result = [](DepthwiseKernel forced) {
    Tape tape;
    const Variable x = tape.watch(random_tensor({17, 2, 14, 14}, 1, -1, 1, DType::f32));
    const Variable weight = tape.watch(random_tensor({17, 1, 9, 9}, 2, -1, 1, DType::f32));
    const Variable y = depthwise_conv2d(x, weight, {}, {.padding = 4, .kernel = forced});
    tape.backward(y, random_tensor(y.shape(), 3, -1, 1, DType::f32));
    return std::vector<Values>{y.data().to_vector(), tape.gradient(x).to_vector(),
                               tape.gradient(weight).to_vector()};
  };
  for (const DepthwiseKernel kernel : {naive, direct, fft}) {
    set_default_depthwise_kernel(automatic);
    const auto forced = result(kernel);
    set_default_depthwise_kernel(kernel);
    CHECK(result(automatic) == forced);
  }
}

TEST_CASE("ops/depthwise_conv2d/products_are_those_counted_one_by_one") {
  struct Case {
    Extent2d map, kernel, padding;
  };
  const std::vector<Case> cases = {{14, 5, 2},           {7, 13, 6},         {{9, 20}, {4, 6}, {1, 3}},
                                   {{5, 6}, 3, 5},       {{28, 30}, 29, 14}, {{10, 3}, {1, 9}, {0, 4}},
                                   {{6, 12}, {7, 2}, 3}, {{13, 15}, 13, 0}};
  for (const Case& c : cases)
    for (const std::int64_t stride : {1, 2})
      for (const DepthwisePass pass : kPasses) {
        const auto g = geometry(1, c.map, c.kernel, {.stride = stride, .padding = c.padding});
        INFO("map " << c.map << " kernel " << c.kernel << " padding " << c.padding << " stride " << stride
                    << " pass " << static_cast<int>(pass));
        CHECK(cpu::products(cpu::correlations_of(g, pass)) == counted(g, pass));
      }
}

TEST_CASE("ops/depthwise_conv2d/transform_lengths") {
  constexpr std::int64_t kLongest = cpu::FftLength::kLongest;
  CHECK(kLongest == 2520);
  for (std::int64_t n = 1; n <= kLongest; ++n) {
    const cpu::FftLength length = cpu::FftLength::at_least(n);
    INFO("at least " << n << ": " << length.value);
    // The lengths that coprime factors up to 9 make are the divisors of 2520.
    std::int64_t shortest = n;
    while (kLongest % shortest != 0) ++shortest;
    CHECK(length.value == shortest);
    std::int64_t product = 1;
    for (const int factor : length.factors) {
      CHECK((factor >= 1 && factor <= 9));
      CHECK(std::gcd(product, factor) == 1);
      product *= factor;
    }
    CHECK(product == length.value);
    CHECK(length.factors.size() >= 2);
  }
  check_error([] { cpu::FftLength::at_least(kLongest + 1); }, {"2521", "2520"});
}
