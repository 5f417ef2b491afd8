// The table of operators that fixture cases may name, and how each is called.
#pragma once

#include "tests/fixtures_test/fixture_cases.h"

namespace replk::test {

/// A case ready to run: inputs in our layout and in the dtype under test, on the tape where a gradient of
/// them is to be checked.
struct Call {
  const FixtureCase& c;
  std::map<std::string, Variable> inputs;

  /// The input of that name. Throws Error when the case has none.
  const Variable& in(const std::string& name) const;
  /// The same, or an absent variable.
  Variable optional(const std::string& name) const;
  const Tensor& tensor(const std::string& name) const { return in(name).data(); }
  double extent(const std::string& name, int axis) const {
    return static_cast<double>(tensor(name).size(axis));
  }

  template <class T>
  T attr(const char* name, T otherwise) const {
    return c.attrs.value(name, otherwise);
  }
  /// An attribute [h, w], or one number for both.
  Extent2d extent_attr(const char* name, Extent2d otherwise) const;
};

/// What a call gives: `y`, to which grad_output belongs, and results without a gradient by name.
struct Results {
  Variable y = {};
  Tensors others = {};
};

/// Products or terms summed in one element, by the name of an output or of the input whose gradient it is; 1
/// where not named. They set the f32 bound.
using Terms = std::map<std::string, double>;

/// One way to compute an op. An op may have several (conv2d and depthwise_conv2d); each that applies is run.
struct OpWay {
  const char* label;
  std::function<Results(const Call&)> run;
  std::function<Terms(const Call&)> terms = [](const Call&) { return Terms(); };
  std::function<bool(const Call&)> applies = [](const Call&) { return true; };
};

/// All ways, by the name of the op.
const std::multimap<std::string, OpWay>& op_table();

}  // namespace replk::test
