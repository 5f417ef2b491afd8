#include "scripts/replk/kernel_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "core/dry_run.h"
#include "core/error.h"
#include "core/nearest_name.h"
#include "scripts/replk/table.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

// Names the kernels of every pass where x is.
void name_kernels(DepthwiseLayers& row, const DepthwiseConv2dGeometry& g, const Tensor& x) {
  if (!x.device().is_cpu()) {
    if constexpr (kHasCuda) {
      const DepthwiseKernel kernel = cuda::choose_depthwise_kernel(g, x.dtype());
      row.forward = row.backward_input = row.backward_weight = name_of(kernel);
      row.as_asked =
          default_depthwise_kernel() == DepthwiseKernel::automatic || default_depthwise_kernel() == kernel;
    }
    return;
  }
  const auto name = [&g](DepthwisePass pass) { return name_of(choose_depthwise_kernel(g, pass)); };
  row.forward = name(DepthwisePass::forward);
  row.backward_input = name(DepthwisePass::backward_input);
  row.backward_weight = name(DepthwisePass::backward_weight);
  row.as_asked = depthwise_kernel_applies(default_depthwise_kernel(), g);
}

bool same_sizes(const DepthwiseLayers& a, const DepthwiseLayers& b) {
  return a.channels == b.channels && a.map == b.map && a.kernel == b.kernel && a.stride == b.stride &&
         a.forward == b.forward && a.backward_input == b.backward_input &&
         a.backward_weight == b.backward_weight;
}

// "13x13 at 14x14 fft (weight gradient direct)"
std::string with_kernels(const DepthwiseLayers& row, Passes passes) {
  std::string text = row.name() + " " + row.forward;
  if (passes == Passes::forward) return text;
  const bool input = row.backward_input != row.forward, weight = row.backward_weight != row.forward;
  if (input && weight && row.backward_input == row.backward_weight)
    text += " (gradients " + row.backward_input + ")";
  else if (input && weight)
    text += " (input gradient " + row.backward_input + ", weight gradient " + row.backward_weight + ")";
  else if (input)
    text += " (input gradient " + row.backward_input + ")";
  else if (weight)
    text += " (weight gradient " + row.backward_weight + ")";
  return text;
}

// The rows as a list. Those that differ in nothing it shows are told once.
std::string list_of(const std::vector<DepthwiseLayers>& rows, Passes passes) {
  std::vector<std::string> parts;
  for (const DepthwiseLayers& row : rows)
    if (const std::string text = with_kernels(row, passes);
        std::find(parts.begin(), parts.end(), text) == parts.end())
      parts.push_back(text);
  return join(parts);
}

bool slow(const DepthwiseLayers& row, Passes passes) {
  const std::string naive = name_of(DepthwiseKernel::naive);
  return row.forward == naive ||
         (passes == Passes::all && (row.backward_input == naive || row.backward_weight == naive));
}

// What is said where --depthwise-kernel does not apply, or where nothing was asked for and only the naive
// kernel applies; empty where all is as it should be.
std::string exceptions(const std::vector<DepthwiseLayers>& rows, Passes passes) {
  std::vector<DepthwiseLayers> others;
  std::int64_t all = 0, count = 0;
  const bool automatic = default_depthwise_kernel() == DepthwiseKernel::automatic;
  for (const DepthwiseLayers& row : rows) {
    all += row.layers;
    if (automatic ? !slow(row, passes) : row.as_asked) continue;
    count += row.layers;
    others.push_back(row);
  }
  if (others.empty()) return "";
  if (automatic)
    return fmt::format("no fast kernel for {} of {} layers (slow): {}", count, all, list_of(others, passes));
  return fmt::format("--depthwise-kernel {} does not apply to {} of {} layers: {}",
                     name_of(default_depthwise_kernel()), count, all, list_of(others, passes));
}

}  // namespace

std::string DepthwiseLayers::name() const {
  const std::string step = stride == Extent2d(1)  ? ""
                           : stride.h == stride.w ? str(" stride ", stride.h)
                                                  : str(" stride ", stride);
  return str(kernel, step, " at ", map);
}

std::vector<DepthwiseLayers> depthwise_layers(const RepLKNetConfig& config, Device device, std::int64_t batch,
                                              std::int64_t height, std::int64_t width, DType dtype) {
  std::vector<DepthwiseLayers> rows;
  const DryRun dry;  // shapes are all that is wanted
  RepLKNet model(config);
  model.to(device);
  model.eval();
  {
    const ModuleObserver observer([&](Module& module, const Variable& in, const Variable&) {
      auto* conv = dynamic_cast<Conv2d*>(&module);
      if (!conv || !conv->depthwise()) return;
      const Conv2dOptions& o = conv->options();
      auto g =
          DepthwiseConv2dGeometry::of(in.data(), conv->weight().data, {},
                                      {.stride = o.stride, .padding = o.padding, .dilation = o.dilation});
      g.batch = batch;
      DepthwiseLayers row{.channels = g.channels, .map = g.input, .kernel = g.kernel, .stride = g.stride};
      name_kernels(row, g, in.data());
      auto found = std::find_if(rows.begin(), rows.end(),
                                [&](const DepthwiseLayers& other) { return same_sizes(row, other); });
      if (found == rows.end()) found = rows.insert(found, row);
      ++found->layers;
    });
    model(Tensor::empty({config.in_channels, 1, height, width}, dtype, device));
  }
  return rows;
}

std::vector<std::string> kernel_lines(const std::vector<DepthwiseLayers>& layers, Passes passes) {
  std::vector<std::string> lines = {"depth-wise kernels: " + list_of(layers, passes)};
  if (const std::string text = exceptions(layers, passes); !text.empty()) lines.push_back(text);
  return lines;
}

std::string kernel_table(const std::vector<DepthwiseLayers>& layers) {
  using enum Table::Align;
  Table table({{"depth-wise layers"},
               {"channels", right},
               {"how many", right},
               {"forward"},
               {"input gradient"},
               {"weight gradient"}});
  for (const DepthwiseLayers& row : layers)
    table.add({row.name(), format_count(row.channels), format_count(row.layers), row.forward,
               row.backward_input, row.backward_weight});
  std::string text = table.text();
  if (const std::string other = exceptions(layers, Passes::all); !other.empty()) text += "\n" + other + "\n";
  return text;
}

DepthwiseKernel depthwise_kernel_named(const std::string& name) {
  using enum DepthwiseKernel;
  std::vector<std::string> names;
  for (const DepthwiseKernel kernel : {automatic, fft, direct, rows, naive, tensor_core}) {
    if (name == name_of(kernel)) return kernel;
    names.push_back(name_of(kernel));
  }
  require_name("--depthwise-kernel", name, names);
  return automatic;
}

CLI::Option* add_depthwise_kernel_flag(CLI::App& command) {
  return command
      .add_option_function<std::string>(
          "--depthwise-kernel",
          [](const std::string& name) { set_default_depthwise_kernel(depthwise_kernel_named(name)); },
          "Kernel of depth-wise convolutions where it applies: automatic (the fastest), fft, direct, "
          "rows (CPU), tensor_core (GPU) or naive")
      ->type_name("NAME")
      ->default_str("automatic");
}

}  // namespace replk
