// `replk report`: what is on the page is what the run, `eval` and `reparam` say.
#include <cmath>
#include <sstream>

#include "data/open_dataset.h"
#include "ops/normalize_images/normalize_images.h"
#include "scripts/replk/checkpoint.h"
#include "scripts/replk/evaluate.h"
#include "scripts/replk/model_summary.h"
#include "scripts/replk/run_folder.h"
#include "scripts/replk/text.h"
#include "scripts/replk/train_option_table.h"
#include "tests/scripts/report_support.h"

namespace replk::test {
namespace {

using Json = nlohmann::json;

const std::string& page() {
  static const std::string text = report_of(reported_run().run());
  return text;
}

// Rows of metrics.csv by column name.
std::vector<std::map<std::string, std::string>> metrics_of(const std::string& run) {
  std::istringstream lines(read_text(std::filesystem::path(run) / "metrics.csv"));
  std::vector<std::string> names;
  std::vector<std::map<std::string, std::string>> rows;
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> cells;
    std::istringstream parts(line);
    for (std::string cell; std::getline(parts, cell, ',');) cells.push_back(cell);
    if (names.empty()) {
      names = cells;
      continue;
    }
    rows.emplace_back();
    for (std::size_t i = 0; i < names.size(); ++i) rows.back()[names[i]] = cells.at(i);
  }
  return rows;
}

std::string rounded(const std::string& number, int decimals) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(decimals);
  text << std::stod(number);
  return text.str();
}

std::string percent(const std::string& share, int decimals = 2) {
  return rounded(std::to_string(100 * std::stod(share)), decimals) + " %";
}

}  // namespace

TEST_CASE("scripts/report/train_tells_how_to_make_it") {
  const ReportedRun& run = reported_run();
  INFO(run.train.err);
  REQUIRE(run.train.code == 0);
  CHECK(contains(run.train.out, " report " + run.run() + "\n"));
}

TEST_CASE("scripts/report/epochs_are_those_of_the_metrics") {
  const auto metrics = metrics_of(reported_run().run());
  REQUIRE(metrics.size() == 3);
  const std::vector<Row> rows = table_of(page(), "Epochs");
  REQUIRE(rows.size() == metrics.size());
  double best = 0, best_averaged = 0, seconds = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto row = metrics[i];
    CHECK(rows[i][0] == row["epoch"]);
    CHECK(rows[i][1] == rounded(row["train_loss"], 4));
    CHECK(rows[i][2] == percent(row["train_accuracy"]));
    CHECK(rows[i][3] == rounded(row["val_loss"], 4));
    CHECK(rows[i][4] == percent(row["val_accuracy"]));
    CHECK(rows[i][5] == rounded(row["val_loss_ema"], 4));
    CHECK(rows[i][6] == percent(row["val_accuracy_ema"]));
    CHECK(std::stod(rows[i][7]) == Approx(std::stod(row["lr"])).epsilon(0.01).margin(1e-12));
    CHECK(rows[i][8] == rounded(row["images_per_second"], 0));
    best = std::max(best, std::stod(row["val_accuracy"]));
    best_averaged = std::max(best_averaged, std::stod(row["val_accuracy_ema"]));
    seconds += std::stod(row["seconds"]);
  }
  const auto fact = [](const std::string& name, const std::string& value) {
    return "<dt>" + name + "</dt>\n<dd>" + value + "</dd>";
  };
  CHECK(contains(page(), fact("Best validation accuracy", format_percent(best))));
  CHECK(contains(page(), fact("Best, averaged weights", format_percent(best_averaged))));
  CHECK(contains(page(), fact("Epochs", "3 of 3")));
  CHECK(contains(page(), fact("Time", format_duration(seconds))));
  CHECK(contains(page(), fact("Device", "auto, fp32")));
  CHECK(contains(page(), "<h1>replknet-nano on " + reported_run().data() + "</h1>"));
}

TEST_CASE("scripts/report/curves_have_points_for_every_epoch") {
  const std::string section = section_of(page(), "training");
  const auto metrics = metrics_of(reported_run().run());
  CHECK(count(section, "<svg ") == 3);
  CHECK(count(section, "role=\"img\" aria-label=") == 3);
  for (const char* name : {">training</text>", ">validation</text>", ">validation, averaged weights</text>"})
    CHECK(count(section, name) == 2);
  CHECK(count(section, "<circle") == 3 * (3 + 3 + 1));
  for (auto row : metrics)
    for (const char* key : {"train_loss", "val_loss", "val_loss_ema", "lr"}) {
      const std::size_t at = section.find("<title>epoch " + row["epoch"] + ": ");
      REQUIRE(at != std::string::npos);
      std::ostringstream shown;
      shown.precision(5);
      shown << std::stod(row[key]);
      CHECK(contains(section, "<title>epoch " + row["epoch"] + ": " + shown.str() + "</title>"));
    }
}

TEST_CASE("scripts/report/evaluation_is_that_of_eval") {
  const ReportedRun& run = reported_run();
  TemporaryFolder folder;
  const std::string copy = run.copy(folder);
  const std::string tested = report_of(copy, {"--split", "test"});
  const Outcome eval = run_replk({"eval", copy, "--json", "--device", "cpu", "--split", "test"});
  REQUIRE(eval.code == 0);
  const Json said = Json::parse(eval.out);
  const Row numbers = table_of(tested, "Numbers").at(0);
  CHECK(numbers[0] == "test");
  CHECK(numbers[1] == "40");
  CHECK(numbers[2] == format_percent(said["accuracy"].get<double>()));
  CHECK(numbers[3] == format_percent(said["top5"].get<double>()));
  CHECK(numbers[4] == rounded(said["loss"].dump(), 4));
  CHECK(contains(tested, "<dt>Accuracy, test</dt>\n<dd>" + numbers[2] + "</dd>"));
  const std::vector<Row> classes = table_of(tested, "Accuracy by class");
  REQUIRE(classes.size() == said["classes"].size());
  std::int64_t right = 0;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const Json& one = said["classes"][i];
    CHECK(classes[i][0] == one["class"].get<std::string>());
    CHECK(classes[i][1] == one["images"].dump());
    CHECK(classes[i][2] == format_percent(one["accuracy"].get<double>(), 1));
    CHECK(
        contains(classes[i][3], "width: " + rounded(std::to_string(100 * one["accuracy"].get<double>()), 1)));
    right += std::llround(one["accuracy"].get<double>() * one["images"].get<double>());
  }
  CHECK(contains(section_of(tested, "evaluation"), std::to_string(right) + " of 40 right"));

  // By default the images that the run kept for validation, on which its best network has its best accuracy.
  double best = 0;
  for (auto row : metrics_of(run.run())) best = std::max(best, std::stod(row["val_accuracy"]));
  const Row validation = table_of(page(), "Numbers").at(0);
  CHECK(validation[0] == "validation");
  CHECK(validation[1] == "40");
  CHECK(validation[2] == format_percent(best));
  const std::string trained = report_of(copy, {"--split", "train", "--mistakes", "0"});
  CHECK(table_of(trained, "Numbers").at(0)[1] == "160");
  CHECK(contains(section_of(trained, "mistakes"), "none was asked for"));
}

TEST_CASE("scripts/report/mistakes_are_the_worst_ones") {
  const ReportedRun& run = reported_run();
  TemporaryFolder folder;
  const std::string copy = run.copy(folder), tested = report_of(copy, {"--split", "test", "--mistakes", "3"});
  const std::string section = section_of(tested, "mistakes");

  // All wrong answers by definition, one image at a time.
  const std::filesystem::path checkpoint = std::filesystem::path(copy) / "best.safetensors";
  const ModelCard card = read_checkpoint(checkpoint).card();
  const auto model = load_model(checkpoint);
  const auto dataset = open_dataset(run.data(), Split::test);
  struct Wrong {
    double loss, probability;
    std::int64_t index, label, predicted;
  };
  std::vector<Wrong> wrong;
  for (std::int64_t i = 0; i < dataset->size(); ++i) {
    const Sample sample = dataset->get(i);
    const Tensor bytes = Tensor::of(sample.image.pixels, {1, card.height, card.width, card.channels});
    const std::vector<double> logits =
        (*model)(normalize_images(bytes, card.mean, card.std)).data().to_vector();
    double sum = 0;
    for (const double logit : logits) sum += std::exp(logit);
    const auto predicted = std::max_element(logits.begin(), logits.end()) - logits.begin();
    if (predicted == sample.label) continue;
    wrong.push_back({std::log(sum) - logits[static_cast<std::size_t>(sample.label)],
                     std::exp(logits[static_cast<std::size_t>(predicted)]) / sum, i, sample.label,
                     predicted});
  }
  REQUIRE(wrong.size() > 3);  // or this test shows little
  std::sort(wrong.begin(), wrong.end(), [](const Wrong& a, const Wrong& b) { return a.loss > b.loss; });
  CHECK(count(section, "<li ") == 3);
  const std::vector<Picture> pictures = pictures_of(section);
  REQUIRE(pictures.size() == 3);
  std::size_t at = 0;
  for (std::size_t k = 0; k < 3; ++k) {
    const Wrong& w = wrong[k];
    CHECK(pictures[k].image == dataset->get(w.index).image);
    CHECK(pictures[k].alt == dataset->sample_name(w.index) + ": " + std::to_string(w.label) + ", taken for " +
                                 std::to_string(w.predicted));
    const std::string text = "<b>" + std::to_string(w.label) + "</b><br/>taken for <b>" +
                             std::to_string(w.predicted) + "</b> <span class=\"nowrap\">" +
                             format_percent(w.probability, 1) + "</span><br/><span class=\"soft\">loss " +
                             rounded(std::to_string(w.loss), 2);
    at = section.find(text, at);
    INFO(text << "\n" << section.substr(0, 300));
    REQUIRE(at != std::string::npos);
  }
}

TEST_CASE("scripts/report/kernels_before_and_after_merging") {
  const std::string section = section_of(page(), "kernels");
  const std::vector<Picture> pictures = pictures_of(section);
  REQUIRE(pictures.size() == 1 + 2 * 3);  // the first convolution; two blocks of three
  CHECK(contains(pictures[0].alt, "4 of 4 kernels of 3×3"));
  const char* parts[] = {"large kernel alone", "small kernel alone", "merged"};
  for (std::size_t i = 0; i < 6; ++i) CHECK(contains(pictures[1 + i].alt, parts[i % 3]));

  // The first block, its first channel: shades are weights over the largest of the three.
  const std::filesystem::path checkpoint = std::filesystem::path(reported_run().run()) / "best.safetensors";
  const auto model = load_model(checkpoint);
  std::map<std::string, Tensor> before, after;
  for (const NamedTensor& entry : model->state()) before[entry.name] = entry.tensor;
  model->structural_reparam();
  for (const NamedTensor& entry : model->state()) after[entry.name] = entry.tensor;
  const std::string layer = "stages.0.blocks.0.large_kernel.";
  const auto scaled = [&](const std::string& branch) {  // weights times the scale of the batch norm
    const auto number = [&](const char* name) {
      return before.at(layer + branch + ".bn." + name).to_vector()[0];
    };
    std::vector<double> weights = before.at(layer + branch + ".conv.weight").to_vector();
    for (double& weight : weights) weight *= number("weight") / std::sqrt(number("running_var") + 1e-5);
    return weights;
  };
  const std::vector<double> large = scaled("lkb_origin"), small = scaled("small_conv"),
                            merged = after.at(layer + "lkb_reparam.weight").to_vector();
  double largest = 0;
  for (std::size_t i = 0; i < 49; ++i) largest = std::max({largest, std::abs(large[i]), std::abs(merged[i])});
  for (std::size_t i = 0; i < 9; ++i) largest = std::max(largest, std::abs(small[i]));
  const auto check_kernel = [&](const Image& strip, std::int64_t kernel, auto weight_at) {
    const std::int64_t step = (24 + kernel - 1) / kernel;  // pixels of a weight
    for (std::int64_t y = 0; y < kernel; ++y)
      for (std::int64_t x = 0; x < kernel; ++x) {
        const double share = weight_at(y, x) / largest;
        const double faded = 255 * (1 - std::abs(share));
        const std::int64_t row = y * step + step / 2, column = x * step + step / 2;
        CHECK(std::abs(strip.at(row, column, 1) - faded) < 1.01);
        CHECK(std::abs(strip.at(row, column, 0) - (share < 0 ? faded : 255)) < 1.01);
        CHECK(std::abs(strip.at(row, column, 2) - (share > 0 ? faded : 255)) < 1.01);
      }
  };
  const auto at = [](std::int64_t y, std::int64_t x, std::int64_t side) {
    return static_cast<std::size_t>(y * side + x);
  };
  check_kernel(pictures[1].image, 7, [&](auto y, auto x) { return large[at(y, x, 7)]; });
  check_kernel(pictures[2].image, 7, [&](auto y, auto x) {
    return y < 2 || y > 4 || x < 2 || x > 4 ? 0.0 : small[at(y - 2, x - 2, 3)];
  });
  check_kernel(pictures[3].image, 7, [&](auto y, auto x) { return merged[at(y, x, 7)]; });
}

TEST_CASE("scripts/report/merging_is_that_of_the_network") {
  const std::vector<Row> rows = table_of(page(), "Before and after merging");
  REQUIRE(rows.size() == 3);
  const auto model = load_model(std::filesystem::path(reported_run().run()) / "best.safetensors");
  const char* names[] = {"as trained", "small kernels merged", "batch norms folded too"};
  for (std::size_t i = 0; i < 3; ++i) {
    if (i == 1) model->structural_reparam();
    if (i == 2) model->fold_batch_norm();
    const ModelSummary summary = summarize(model->config(), 12, 12);
    CHECK(rows[i][0] == names[i]);
    CHECK(rows[i][1] == format_count(summary.parameters));
    CHECK(rows[i][2] == std::to_string(summary.layers.size()));
    if (i > 0) {
      CHECK(std::stod(rows[i][3]) < 1e-5);
      CHECK(rows[i][4] == "40 of 40");
    }
    CHECK(std::stod(rows[i][6]) > 0);
  }
  CHECK(rows[0][6] == "1.00");
  CHECK(rows[0][1] != rows[1][1]);
  CHECK(rows[1][2] != rows[2][2]);
}

TEST_CASE("scripts/report/configuration_marks_what_was_changed") {
  const std::string section = section_of(page(), "configuration");
  std::size_t rows = 0;
  for (const TrainOption& option : train_option_table()) rows += option.lasts != TrainOption::Lasts::process;
  CHECK(count(section, "<tr") == rows + 1);
  const auto changed = [&](const std::string& key) {
    const bool marked = contains(section, "<tr class=\"changed\"><th scope=\"row\"><code>" + key + "</code>");
    CHECK((marked || contains(section, "<tr><th scope=\"row\"><code>" + key + "</code>")));
    return marked;
  };
  for (const char* key :
       {"data", "model", "model_config", "epochs", "batch_size", "val_split", "ema", "threads"})
    CHECK(changed(key));
  for (const char* key : {"lr", "optimizer", "schedule", "seed", "mixup", "nesterov"})
    CHECK_FALSE(changed(key));
  CHECK(contains(section, "<code>epochs</code></th><td>3</td><td>10</td>"));
}

TEST_CASE("scripts/report/what to do without memory is told in flags that it has") {
  const TemporaryFolder folder;
  const Outcome outcome =
      run_replk({"report", reported_run().copy(folder), "--device", "cpu", "--threads", "1"},
                {{"REPLK_MEMORY_LIMIT", "200K"}});
  INFO(outcome.err);
  CHECK(outcome.code == 3);
  CHECK(contains(outcome.err, "REPLK_MEMORY_LIMIT allows"));
  CHECK(contains(outcome.err, "--batch-size 256 "));
  CHECK(contains(outcome.err, "--images 256 "));
}

TEST_CASE("scripts/report/the_command_repeats_the_run") {
  const ReportedRun& run = reported_run();
  const std::string section = section_of(page(), "commands");
  const std::size_t at = section.find(" train --data ");
  REQUIRE(at != std::string::npos);
  std::string words = section.substr(at + 1, section.find("</code>", at) - at - 1);
  const std::pair<const char*, const char*> entities[] = {{"&#39;", "'"}, {"&quot;", "\""}, {"&amp;", "&"}};
  for (const auto& [entity, character] : entities)
    for (std::size_t i; (i = words.find(entity)) != std::string::npos;)
      words.replace(i, std::string(entity).size(), character);
  TemporaryFolder folder;
  const std::string again = folder / "again";
  const Outcome outcome =
      Process({"sh", "-c", std::string(REPLK_BINARY) + " " + words + " --out " + again}).wait();
  INFO(words << "\n" << outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(read_text(std::filesystem::path(again) / "config.json") ==
        read_text(std::filesystem::path(run.run()) / "config.json"));
  CHECK(read_text(std::filesystem::path(again) / "best.safetensors") ==
        read_text(std::filesystem::path(run.run()) / "best.safetensors"));
  CHECK(contains(section, " train --config " + run.run() + "/config.json</code>"));
  CHECK(contains(section, " train --resume " + run.run() + " --epochs 6</code>"));
}

}  // namespace replk::test
