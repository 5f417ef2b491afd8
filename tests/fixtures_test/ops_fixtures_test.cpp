// Runs every case of single operators in the fixture folder, in f32 and in f64.
#include <cmath>
#include <cstdlib>
#include <limits>

#include "ops/primitives/elementwise.h"
#include "tests/fixtures_test/op_table.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"
#include "tests/support/instruction_sets.h"
#include "tests/support/layout.h"

using namespace replk;
using namespace replk::test;

namespace {

// Maps are NCHW in the files; convolution weights have rank 4 too, but no batch. Their dtype becomes the one
// under test, labels stay integers.
Tensor from_file(const std::string& name, const Tensor& stored, DType dtype) {
  const Tensor ours = stored.rank() == 4 && name != "weight" ? to_cnhw(stored) : stored;
  return is_floating(ours.dtype()) ? cast(ours, dtype) : ours;
}

// Expected values are results in f64 rounded to f32, hence within 2^-24 of each element; in f64 the operator
// may differ from them by twice that (relative to the largest, as the order of sums is ours). In f32 it is
// the bound of check_op.
double bound(const Values& expected, double terms, DType dtype) {
  const double eps = std::numeric_limits<float>::epsilon();
  double largest = 1e-3;
  for (const double value : expected)
    if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
  return largest * (dtype == DType::f64 ? eps : eps * (8 + 4 * std::sqrt(terms)));
}

double difference(double a, double b) {
  const bool same = a == b || (std::isnan(a) && std::isnan(b));
  return same ? 0 : std::abs(a - b);
}

void compare(const std::string& what, const std::string& name, const Tensor& ours, const Tensor& stored,
             const Terms& terms, DType dtype) {
  const Tensor expected = from_file(name, stored, DType::f64);
  INFO(what << " " << name << ": " << ours);
  if (!ours.defined() || ours.shape() != expected.shape() || ours.dtype() != dtype) {
    FAIL_CHECK("expected " << dtype << " " << expected.shape());
    return;
  }
  const Values a = ours.to_vector(), b = expected.to_vector();
  const double limit = bound(b, terms.contains(name) ? terms.at(name) : 1, dtype);
  std::size_t worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(difference(a[i], b[i]) <= difference(a[worst], b[worst]))) worst = i;
  if (a.empty()) return;
  INFO("element " << worst << " of " << a.size() << ": got " << a[worst] << ", expected " << b[worst]);
  CHECK(difference(a[worst], b[worst]) <= limit);
}

void run_way(const FixtureCase& c, const OpWay& way, const Call& call, Tape& tape, DType dtype) {
  INFO("computed by " << way.label);
  const Results results = way.run(call);
  const Terms terms = way.terms(call);
  for (const auto& [name, expected] : c.outputs) {
    const bool main = results.y.defined() && name == "y";
    const auto other = results.others.find(name);
    const Tensor ours = main ? results.y.data() : other != results.others.end() ? other->second : Tensor();
    compare("output", name, ours, expected, terms, dtype);
  }
  if (c.grads.empty()) return;
  tape.backward(results.y, from_file("y", c.grad_output, dtype));
  for (const auto& [name, expected] : c.grads)
    compare("gradient of", name, tape.gradient(call.in(name)), expected, terms, dtype);
}

// Returns in how many ways the case was computed.
int run_case(const FixtureCase& c, DType dtype) {
  int ways = 0;
  const auto [begin, end] = op_table().equal_range(c.op);
  for (auto entry = begin; entry != end; ++entry) {
    Tape tape;
    Call call{c, {}};
    for (const auto& [name, stored] : c.inputs) {
      const Tensor input = from_file(name, stored, dtype);
      call.inputs[name] = c.grads.contains(name) ? tape.watch(input) : Variable(input);
    }
    if (!entry->second.applies(call)) continue;
    run_way(c, entry->second, call, tape, dtype);
    ++ways;
  }
  return ways;
}

// A folder of another kind of reference values only: nothing to do here.
bool holds_networks(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().filename().string().starts_with("replknet")) return true;
  return false;
}

// All cases, or those of one op; returns how many.
int run_all(DType dtype, const std::string& op = "") {
  int cases = 0, chosen = 0;
  for (const auto& file : fixture_files(fixture_folder()))
    for (const FixtureCase& c : read_fixture_cases(file)) {
      INFO(file.filename().string() << ", case " << c.name << ", op " << c.op << ", " << dtype);
      ++cases;
      if (!op.empty() && c.op != op) continue;
      ++chosen;
      try {
        if (run_case(c, dtype) == 0) FAIL_CHECK("no operator of this name: add it to op_table.cpp");
      } catch (const std::exception& error) {
        FAIL_CHECK(error.what());
      }
    }
  INFO("no cases in " << fixture_folder());
  CHECK((cases > 0 || holds_networks(fixture_folder())));
  return chosen;
}

}  // namespace

TEST_CASE("fixtures/ops/f32") { run_all(DType::f32); }
TEST_CASE("fixtures/ops/f64") { run_all(DType::f64); }
// Of convolutions, all of them: depth-wise kernels and matrix products choose theirs at run time.
TEST_CASE("fixtures/ops/every_instruction_set") {
  for (const DType dtype : {DType::f32, DType::f64})
    for_each_instruction_set([dtype] {
      const int cases = run_all(dtype, "conv2d");
      if (!std::getenv("REPLK_FIXTURE_DIR")) CHECK(cases > 20);
    });
}
