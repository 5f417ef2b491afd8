#include "ops/activations/activations.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

#include "ops/primitives/elementwise.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/instruction_sets.h"

using namespace replk;
using namespace replk::test;

namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

struct Function {
  const char* name;
  Variable (*op)(const Variable&);
  double (*value)(double);  // in double, well below half an ulp of f32 for every x
  double (*slope)(double);
};

double phi(double x) { return std::exp(-x * x / 2) / std::sqrt(2 * M_PI); }
double cdf(double x) { return std::erfc(-x / std::sqrt(2.0)) / 2; }
double logistic(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }

const Function kRelu{"relu", relu, [](double x) { return x > 0 ? x : 0; },
                     [](double x) { return x > 0 ? 1.0 : 0.0; }};
const Function kRelu6{"relu6", relu6, [](double x) { return x < 0   ? 0
                                                            : x > 6 ? 6
                                                                    : x; },
                      [](double x) { return x > 0 && x < 6 ? 1.0 : 0.0; }};
const Function kGelu{"gelu", gelu, [](double x) { return x * cdf(x); },
                     [](double x) { return cdf(x) + x * phi(x); }};
const Function kSigmoid{"sigmoid", sigmoid, logistic, [](double x) { return logistic(x) * logistic(-x); }};

// Inputs on both sides of each corner but not within a difference step of it.
Tensor inputs_of(const Shape& shape, const Function& a) {
  Tensor x = random_tensor(shape, 1, a.op == relu6 ? -4 : -3, a.op == relu6 ? 10 : 3);
  double* values = x.data<double>();
  for (std::int64_t i = 0; i < x.numel(); ++i)
    for (const double corner : {0.0, 6.0})
      if (std::abs(values[i] - corner) < 1e-3) values[i] = corner + 0.01;
  return x;
}

OpCase activation_case(const Shape& shape, const Function& a) {
  return {.name = str(a.name, " ", shape),
          .inputs = {inputs_of(shape, a)},
          .op = [op = a.op](const auto& in) { return op(in[0]); },
          .reference =
              [value = a.value](const auto& in) {
                Values y;
                for (const double x : in[0]) y.push_back(value(x));
                return y;
              }};
}

// The operator and its slope at every x, in f32.
struct Curve {
  std::vector<float> y, slope;
};

Curve curve(const Function& a, const std::vector<float>& x) {
  const auto n = static_cast<std::int64_t>(x.size());
  Tape tape;
  const Variable in = tape.watch(Tensor::of(x, {n}));
  const Variable y = a.op(in);
  tape.backward(y, Tensor::full({n}, 1));
  const Tensor slope = tape.gradient(in);
  return {{y.data().data<float>(), y.data().data<float>() + n},
          {slope.data<float>(), slope.data<float>() + n}};
}

// The largest error of f32 over a dense sweep of the line, in units of the last place of the exact value
// (where that is below `floor`, of `floor`).
struct Worst {
  double ulps = 0;
  float at = 0;
  void see(float x, float ours, double exact, double floor) {
    const double ulp =
        std::ldexp(1.0, std::max(std::ilogb(std::max({std::abs(exact), floor, 1e-45})) - 23, -149));
    const double error = std::abs(static_cast<double>(ours) - exact) / ulp;
    if (!(error <= ulps)) *this = {error, x};
  }
};

// Every 1009th float from denormals to 200 and both signs (over two million), and some up to the largest.
std::vector<float> sweep() {
  std::vector<float> x;
  const auto limit = std::bit_cast<std::uint32_t>(200.0f);
  for (std::uint32_t bits = 0; bits < 0x7f800000u; bits += bits < limit ? 1009 : 65537)
    for (const std::uint32_t sign : {0u, 0x80000000u}) x.push_back(std::bit_cast<float>(bits | sign));
  return x;
}

}  // namespace

TEST_CASE("ops/activations/check_op") {
  for_each_instruction_set([] {
    for (const Function* a : {&kRelu, &kRelu6, &kGelu, &kSigmoid})
      for (const Shape& shape :
           {Shape{3, 2, 4, 5}, Shape{1, 1, 1, 1}, Shape{1, 1, 5, 3}, Shape{37}, Shape{8, 4, 33, 31}})
        check_op(activation_case(shape, *a));
  });
}

// Any length gives what the elements give one by one: the ends of the vector code.
TEST_CASE("ops/activations/tails") {
  for_each_instruction_set([] {
    const Tensor all = random_tensor({70}, 3, -8, 8, DType::f32);
    const std::vector<float> x(all.data<float>(), all.data<float>() + 70);
    for (const Function* a : {&kRelu, &kRelu6, &kGelu, &kSigmoid}) {
      const Curve whole = curve(*a, x);
      for (std::size_t n = 0; n <= 70; ++n) {
        const Curve part = curve(*a, {x.begin(), x.begin() + static_cast<std::ptrdiff_t>(n)});
        INFO(a->name << " of " << n << " elements");
        CHECK(part.y ==
              std::vector<float>(whole.y.begin(), whole.y.begin() + static_cast<std::ptrdiff_t>(n)));
        CHECK(part.slope ==
              std::vector<float>(whole.slope.begin(), whole.slope.begin() + static_cast<std::ptrdiff_t>(n)));
      }
    }
  });
}

TEST_CASE("ops/activations/corners") {
  for_each_instruction_set([] {
    const std::vector<float> x{-1, -0.0f, 0, 1, 6, 7};
    CHECK(curve(kRelu, x).y == std::vector<float>{0, 0, 0, 1, 6, 7});
    CHECK(curve(kRelu, x).slope == std::vector<float>{0, 0, 0, 1, 1, 1});
    CHECK(curve(kRelu6, x).y == std::vector<float>{0, 0, 0, 1, 6, 6});
    CHECK(curve(kRelu6, x).slope == std::vector<float>{0, 0, 0, 1, 0, 0});
  });
}

TEST_CASE("ops/activations/infinite_and_nan") {
  for_each_instruction_set([] {
    const auto inf = static_cast<float>(kInf);
    const std::vector<float> x{-inf, inf, std::nanf("")};
    for (const Function* a : {&kRelu, &kRelu6, &kGelu, &kSigmoid}) {
      INFO(a->name);
      const Curve c = curve(*a, x);
      CHECK(c.y[0] == 0);
      CHECK(c.y[1] == (a->op == relu6 ? 6 : a->op == sigmoid ? 1 : inf));
      CHECK(std::isnan(c.y[2]));
      CHECK(c.slope[0] == 0);
      CHECK(c.slope[1] == (a->op == relu || a->op == gelu ? 1 : 0));
      const Values in64 =
          a->op(Tensor::of(std::vector<double>{-kInf, kInf, std::nan("")}, {3})).data().to_vector();
      CHECK(in64[0] == 0);
      CHECK(in64[1] == static_cast<double>(c.y[1]));
      CHECK(std::isnan(in64[2]));
    }
  });
}

TEST_CASE("ops/activations/accuracy") {
  for_each_instruction_set([] {
    struct Bound {
      const Function* activation;
      double value, slope;        // in units of the last place
      double (*floor)(double x);  // below this size of the slope its error is absolute
    };
    const std::vector<float> inputs = sweep();
    const auto none = [](double) { return 0.0; };
    // The slope of gelu crosses zero near -0.75; that of sigmoid comes from the saved y, by then rounded to
    // nearly 1.
    const auto near_zero = [](double x) { return std::abs(x) < 2 ? 0.5 : 1e-37; };
    const auto saturated = [](double x) { return x > 0 ? 0.25 : 0.0; };
    for (const Bound& b : {Bound{&kRelu, 0, 0, none},
                           {&kRelu6, 0, 0, none},
                           {&kGelu, 6, 5, near_zero},
                           {&kSigmoid, 2.5, 4, saturated}}) {
      const Curve c = curve(*b.activation, inputs);
      Worst value, slope;
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        value.see(inputs[i], c.y[i], b.activation->value(inputs[i]), 0);
        slope.see(inputs[i], c.slope[i], b.activation->slope(inputs[i]), b.floor(inputs[i]));
      }
      INFO(b.activation->name << ": value " << value.ulps << " ulp off at " << value.at << ", slope "
                              << slope.ulps << " ulp off at " << slope.at);
      CHECK(value.ulps <= b.value);
      CHECK(slope.ulps <= b.slope);
    }
  });
}

TEST_CASE("ops/activations/errors") {
  const Tensor labels = Tensor::zeros({3}, DType::i64);
  for (const Function* a : {&kRelu, &kRelu6, &kGelu, &kSigmoid})
    check_error([&] { a->op(labels); }, {a->name, "f32 or f64", "i64"});
}

TEST_CASE("ops/activations/activate") {
  const Tensor x = random_tensor({37}, 1, -3, 3);
  CHECK(activate(x, Activation::none).data().shares_storage(x));
  CHECK(activate(x, Activation::relu).data().to_vector() == relu(x).data().to_vector());
  CHECK(activate(x, Activation::gelu).data().to_vector() == gelu(x).data().to_vector());
}
