#include "scripts/replk/report_sections.h"
#include "scripts/replk/best_epochs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "scripts/replk/html.h"
#include "scripts/replk/report_options.h"
#include "scripts/replk/svg.h"
#include "scripts/replk/svg_chart.h"
#include "scripts/replk/text.h"

namespace replk {
namespace {

std::string paragraph(const std::string& text) { return html_element("p", xml_escape(text)); }
std::string soft(const std::string& text) { return html_element("p", xml_escape(text), "class=\"soft\""); }
std::string missing(const std::string& why) {
  return html_element("p", xml_escape(why), "class=\"missing\"");
}
std::string command(const std::string& text) { return html_element("pre", html_code(text)); }

std::string name_of_class(const std::vector<std::string>& classes, std::int64_t label) {
  return xml_escape(classes.at(static_cast<std::size_t>(label)));
}

std::string decimals(double value) { return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-"; }

std::string epochs_table(const std::vector<EpochMetrics>& rows) {
  const bool averaged = std::any_of(
      rows.begin(), rows.end(), [](const EpochMetrics& row) { return std::isfinite(row.val_accuracy_ema); });
  std::vector<HtmlTable::Column> columns = {
      {"epoch", true},    {"training loss", true}, {"accuracy", true}, {"validation loss", true},
      {"accuracy", true}, {"learning rate", true}, {"images/s", true}, {"time", true}};
  if (averaged) columns.insert(columns.begin() + 5, {{"averaged loss", true}, {"accuracy", true}});
  HtmlTable table("Epochs", columns);
  for (const EpochMetrics& row : rows) {
    std::vector<std::string> cells = {std::to_string(row.epoch),
                                      decimals(row.train_loss),
                                      format_percent(row.train_accuracy),
                                      decimals(row.val_loss),
                                      format_percent(row.val_accuracy),
                                      fmt::format("{:.3g}", row.lr),
                                      fmt::format("{:.0f}", row.images_per_second),
                                      format_duration(row.seconds)};
    if (averaged)
      cells.insert(cells.begin() + 5, {decimals(row.val_loss_ema), format_percent(row.val_accuracy_ema)});
    table.add(cells);
  }
  return table.markup();
}

std::string classes_table(const Answered& answered, const std::vector<std::string>& classes) {
  HtmlTable table("Accuracy by class",
                  {{"class"}, {"images", true}, {"accuracy", true}, {""}, {"most often taken for"}});
  const std::vector<ClassResult> results = results_by_class(answered.evaluation, classes.size());
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const ClassResult& result = results[i];
    const double share = result.images > 0 ? result.accuracy() : 0;
    table.add({xml_escape(classes[i]), format_count(result.images), format_percent(result.accuracy(), 1),
               fmt::format("<span class=\"bar\"><span style=\"width: {:.1f}%\"></span></span>", 100 * share),
               result.mistakes == 0 ? "-"
                                    : fmt::format("{} ({})", xml_escape(classes[result.mistaken_for]),
                                                  format_percent(result.mistaken_share(), 1))});
  }
  return html_element("div", table.markup(), "class=\"wide\"");
}

std::string mistake_item(const PicturedMistake& wrong, const std::vector<std::string>& classes) {
  constexpr std::int64_t kWidth = 160;
  const Mistake& mistake = wrong.mistake;
  const std::string truth = classes.at(static_cast<std::size_t>(mistake.label)),
                    answer = classes.at(static_cast<std::size_t>(mistake.predicted));
  return html_element(
      "li",
      html_image(wrong.picture, fmt::format("{}: {}, taken for {}", wrong.name, truth, answer), kWidth) +
          fmt::format("<b>{}</b><br/>taken for <b>{}</b> <span class=\"nowrap\">{}</span><br/><span "
                      "class=\"soft\">loss {:.2f}</span>",
                      name_of_class(classes, mistake.label), name_of_class(classes, mistake.predicted),
                      format_percent(mistake.probability, 1), mistake.loss),
      fmt::format("title=\"{}\"", xml_escape(wrong.name)));
}

// A strip of kernels, each about `side` pixels wide on the page.
std::string strip_image(const KernelStrip& strip, const std::string& alt_text, std::int64_t side) {
  return html_image(strip.picture, alt_text, strip.columns * side);
}

std::string block_figure(const LargeKernels& block) {
  constexpr std::int64_t kSide = 60;
  const auto size = [](std::int64_t kernel) { return fmt::format("{0}×{0}", kernel); };
  std::string markup =
      html_element("h3", fmt::format("{}: {}{}", xml_escape(block.block), size(block.kernel),
                                     block.small_kernel > 0 ? " + " + size(block.small_kernel) : ""));
  const auto row = [&](const KernelStrip& strip, const std::string& what) {
    markup +=
        html_element("p", what, "class=\"label\"") +
        strip_image(strip,
                    fmt::format("{}, {}: {} of {} channels", block.block, what, strip.shown, block.channels),
                    kSide);
  };
  if (block.large) row(*block.large, "large kernel alone, " + size(block.kernel));
  if (block.small) row(*block.small, "small kernel alone, " + size(block.small_kernel));
  row(block.merged, "merged, " + size(block.kernel));
  return html_element("div", markup, "class=\"figure\" role=\"group\"");
}

}  // namespace

std::string html_code(const std::string& text) { return fmt::format("<code>{}</code>", xml_escape(text)); }

std::string training_section(const Report& report) {
  if (!report.metrics.value) return missing(report.metrics.missing);
  const Curves curves = curves_of(*report.metrics.value);
  constexpr double kWidth = 440;  // small enough to be read on a phone
  const auto chart = [](const char* title, const char* unit, bool percent,
                        const std::vector<Series>& series) {
    return line_chart(
        {.title = title, .x_label = "epoch", .y_label = unit, .percent = percent, .width = kWidth}, series);
  };
  const std::string charts = chart("Loss", "cross entropy", false, curves.loss) +
                             chart("Accuracy", "accuracy", true, curves.accuracy) +
                             chart("Learning rate", "of an epoch's last step", false, curves.learning_rate);
  return html_element("div", charts, "class=\"charts\"") + html_element("h3", "Epochs") +
         html_element("div", epochs_table(*report.metrics.value), "class=\"wide\"") +
         soft(
             "Training numbers are those of the images as they were augmented, with drop path; validation "
             "sees plain images and the whole network.");
}

std::string evaluation_section(const Report& report) {
  if (!report.answered.value) return missing(report.answered.missing);
  const Answered& answered = *report.answered.value;
  const Evaluation& evaluation = answered.evaluation;
  const std::vector<std::string>& classes = report.network.value->card.classes;
  HtmlTable numbers(
      "Numbers",
      {{"part"}, {"images", true}, {"accuracy", true}, {"top 5", true}, {"loss", true}, {"images/s", true}});
  numbers.add({xml_escape(answered.part), format_count(evaluation.images),
               format_percent(evaluation.accuracy), format_percent(evaluation.top5),
               decimals(evaluation.loss), format_count(std::llround(evaluation.images_per_second))});
  const std::string matrix = confusion_matrix("True and predicted classes", classes, evaluation.confusion);
  return paragraph(fmt::format("{} on the {} images of {}, computed on {}.",
                               report.network.value->path.filename().string(), answered.part, answered.data,
                               answered.computed_on)) +
         numbers.markup() + html_element("h3", "Confusion matrix") +
         html_element(
             "div", matrix,
             "class=\"scroll matrix\" tabindex=\"0\" role=\"region\" aria-label=\"Confusion matrix\"") +
         html_element("h3", "Classes") + classes_table(answered, classes);
}

std::string mistakes_section(const Report& report) {
  if (!report.answered.value) return missing(report.answered.missing);
  const std::vector<PicturedMistake>& worst = report.answered.value->worst;
  if (worst.empty()) return paragraph("None is shown: every answer was right, or none was asked for.");
  std::string items;
  for (const PicturedMistake& wrong : worst) items += mistake_item(wrong, report.network.value->card.classes);
  return paragraph(fmt::format(
             "The {} wrong answers with the highest loss: pictures as the network sees them, their true "
             "class, and the answer with its probability.",
             worst.size())) +
         html_element("ul", items, "class=\"mistakes\"");
}

std::string kernels_section(const Report& report) {
  if (!report.network.value) return missing(report.network.missing);
  const KernelPictures& kernels = report.network.value->kernels;
  const StemKernels& stem = kernels.stem;
  constexpr std::int64_t kStemSide = 44;
  const std::string first = fmt::format("First convolution: {} of {} kernels of {}×{}", stem.strip.shown,
                                        stem.all, stem.kernel, stem.kernel);
  std::string markup = html_element("h3", first) + strip_image(stem.strip, first, kStemSide) +
                       soft(stem.colour ? "Each in the colours that it answers to; grey is 0."
                                        : "Blue is negative, white 0, red positive.");
  markup += html_element("h3", "Large depth-wise kernels");
  markup += paragraph(
      "A block is trained with a large kernel and a small one beside it, each with its own batch norm. As "
      "convolution is linear, both are one large kernel in the end: batch norms are multiplied in, the small "
      "kernel is surrounded with zeros, and the two are added.");
  markup +=
      soft(fmt::format("{} of {} blocks, up to 8 channels each. Blue is negative, white 0, red positive; a "
                       "column has one scale.",
                       kernels.blocks.size(), kernels.all_blocks));
  std::string figures;
  for (const LargeKernels& block : kernels.blocks) figures += block_figure(block);
  return markup + html_element("div", figures, "class=\"blocks\"");
}

std::string merging_section(const Report& report) {
  if (!report.merging.value) return missing(report.merging.missing);
  const Merging& merging = *report.merging.value;
  HtmlTable table("Before and after merging", {{"network"},
                                               {"parameters", true},
                                               {"layers", true},
                                               {"largest difference of logits", true},
                                               {"same answers", true},
                                               {"images/s", true},
                                               {"times as fast", true}});
  const MergedNetwork& first = merging.networks.front();
  for (const MergedNetwork& network : merging.networks) {
    const bool compared = network.comparison.images > 0;
    table.add({xml_escape(network.name), format_count(network.parameters), format_count(network.layers),
               compared ? fmt::format("{:.1e}", network.comparison.difference) : "-",
               compared ? fmt::format("{} of {}", format_count(network.comparison.agreeing),
                                      format_count(network.comparison.images))
                        : "-",
               format_count(std::llround(network.images_per_second)),
               fmt::format("{:.2f}", network.images_per_second / first.images_per_second)});
  }
  return paragraph("Merged networks give the same answers with fewer layers.") + table.markup() +
         soft(fmt::format(
             "Differences are relative to the largest logit, on {}. Speed is that of batches of {} "
             "in memory, on {}.",
             merging.samples, merging.batch, merging.computed_on));
}

std::string configuration_section(const Report& report) {
  const std::vector<OptionRow> rows = option_rows(report.options);
  HtmlTable table("Configuration", {{"option"}, {"value"}, {"default"}, {"meaning"}});
  for (const OptionRow& row : rows)
    table.add({html_code(row.key), xml_escape(row.value.empty() ? "-" : row.value),
               row.changed ? xml_escape(row.usual.empty() ? "-" : row.usual) : "", xml_escape(row.help)},
              row.changed ? "changed" : "");
  const auto changed =
      std::count_if(rows.begin(), rows.end(), [](const OptionRow& row) { return row.changed; });
  return paragraph(
             fmt::format("{} of {} options differ from their defaults: they are marked, with the default "
                         "beside them.",
                         changed, rows.size())) +
         html_element("div", table.markup(), "class=\"wide options\"");
}

std::string commands_section(const Report& report) {
  const std::string program = shell_word(report.options.program), folder = shell_word(report.folder.string()),
                    config = shell_word((report.folder / kConfigFile).string());
  const std::int64_t done =
      report.metrics.value && !report.metrics.value->empty() ? report.metrics.value->back().epoch : 0;
  const bool more = done < report.options.epochs;
  const bool stopped_early = done > 0 && report.options.patience > 0 &&
                             epochs_without_gain(*report.metrics.value) >= report.options.patience;
  return paragraph("Repeat this run in a folder of its own:") + command(train_command(report.options)) +
         paragraph("The same from its configuration:") + command(program + " train --config " + config) +
         paragraph(more ? "Go on where it stands:" : "Go on for as many epochs again:") +
         command(program + " train --resume " + folder + (stopped_early ? " --patience 0" : "") +
                 (more ? "" : fmt::format(" --epochs {}", 2 * report.options.epochs))) +
         paragraph("Write this page again:") + command(program + " report " + folder);
}

}  // namespace replk
