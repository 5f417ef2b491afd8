// `replk report`: a page that stands alone and is safe, and says what is missing.
#include <unistd.h>

#include <cstdlib>
#include <limits>

#include "scripts/replk/mistakes.h"
#include "scripts/replk/run_folder.h"
#include "tests/scripts/report_support.h"

namespace replk::test {
namespace {

// A failing command: one line that has each of `parts`.
void check_fails(const std::vector<std::string>& command, int code, const std::vector<std::string>& parts) {
  const Outcome outcome = run_replk(command);
  INFO(outcome.err);
  CHECK(outcome.code == code);
  CHECK(outcome.err.starts_with("replk: "));
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  for (const std::string& part : parts) CHECK(contains(outcome.err, part));
}

// Whether a program is in PATH.
bool installed(const std::string& program) {
  std::istringstream folders(std::getenv("PATH"));
  for (std::string folder; std::getline(folders, folder, ':');)
    if (access((folder + "/" + program).c_str(), X_OK) == 0) return true;
  return false;
}

void check_stands_alone(const std::string& page) {
  for (std::size_t at = 0; (at = page.find("http", at)) != std::string::npos; ++at) {
    const std::string found = page.substr(at, 40);
    INFO(found);
    CHECK((found.starts_with("http://www.w3.org/2000/svg\"") ||
           found.starts_with("http://www.w3.org/1999/xhtml\"") || found.starts_with("http-equiv=")));
  }
  CHECK(count(page, "src=\"") == count(page, "src=\"data:image/"));
  CHECK(count(page, "href=\"") == count(page, "href=\"#"));
  for (const char* part : {"<script", "<link", "<iframe", "@import", "url(", "<object"})
    CHECK_FALSE(contains(page, part));
}

}  // namespace

TEST_CASE("scripts/report/one_file_that_needs_nothing_else") {
  TemporaryFolder folder;
  const std::string run = reported_run().copy(folder);
  const std::string page = report_of(run);
  check_stands_alone(page);
  CHECK(contains(page, "prefers-color-scheme: dark"));
  CHECK(contains(page, "@media print"));
  CHECK(count(page, "<h1>") == 1);
  CHECK(count(page, "<h2 ") == 7);
  CHECK(count(page, "<img ") == count(page, " alt=\""));
  CHECK_FALSE(contains(page, " alt=\"\""));
  CHECK(count(page, "<svg ") == count(page, " role=\"img\" aria-label=\""));
  CHECK(count(page, "<table>") == count(page, "<caption>"));
  for (const char* wrong : {">nan", ">inf", "nan %", "width: nan"}) CHECK_FALSE(contains(page, wrong));

  // -o writes there, and only there.
  const std::string other = folder / "other.html";
  std::filesystem::remove(std::filesystem::path(run) / "report.html");
  const Outcome outcome = run_replk({"report", run, "-o", other, "--device", "cpu"});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "saved: " + other));
  CHECK(contains(read_page(other), "<h1>"));
  CHECK_FALSE(std::filesystem::exists(std::filesystem::path(run) / "report.html"));
}

TEST_CASE("scripts/report/hostile_names_are_text") {
  TemporaryFolder folder;
  const std::vector<std::string> names = {"<script>alert(1)<", "\"onerror='x'&amp;", "]]> <!-- \x1b[31m"};
  Random random(5);
  for (const char* part : {"train", "test"})
    for (std::size_t k = 0; k < names.size(); ++k)
      for (int i = 0; i < 8; ++i) {
        Image image = Image::filled(12, 12, 3);
        for (std::uint8_t& byte : image.pixels) byte = static_cast<std::uint8_t>(random.below(256));
        const auto png = encode_png(image);
        write_text(folder / "a<b>&'data" / part / names[k] / ("<img src=x>" + std::to_string(i) + ".png"),
                   std::string(png.begin(), png.end()));
      }
  const std::string run = folder / "run \"<u>";
  const Outcome train = run_replk({"train", "--data", folder / "a<b>&'data", "--model", "replknet-nano",
                                   "--model-config", kSmallNetwork, "--epochs", "1", "--batch-size", "8",
                                   "--val-split", "0", "--threads", "1", "--out", run});
  INFO(train.err);
  REQUIRE(train.code == 0);
  const std::string page = report_of(run, {"--split", "test"});
  check_stands_alone(page);
  CHECK(contains(page, "&lt;script&gt;alert(1)&lt;"));
  CHECK(contains(page, "&quot;onerror=&#39;x&#39;&amp;amp;"));
  CHECK(contains(page, "a&lt;b&gt;&amp;&#39;data"));
  CHECK(contains(page, "run &quot;&lt;u&gt;"));
  CHECK(contains(section_of(page, "mistakes"), "&lt;img src=x&gt;"));
  for (const char* raw : {"<u>", "a<b>", "<img src=x", "<!--", "\x1b", "]]>"})
    CHECK_FALSE(contains(page, raw));
  CHECK(table_of(page, "Accuracy by class").size() == 3);
  // Colours: the kernels of the first convolution are shown in theirs.
  CHECK(contains(section_of(page, "kernels"), "colours that it answers to"));

  // The run kept nothing for validation.
  const std::string none = report_of(run);
  CHECK(contains(section_of(none, "evaluation"), "kept no images for validation"));
  CHECK(contains(section_of(none, "mistakes"), "kept no images for validation"));
  CHECK(contains(none, "<dt>Best training accuracy</dt>"));
  CHECK(table_of(none, "Before and after merging").size() == 3);
  CHECK(contains(section_of(none, "merging"), "random images"));
}

TEST_CASE("scripts/report/what_is_missing_is_said") {
  TemporaryFolder folder;
  const std::filesystem::path run = reported_run().copy(folder);
  const auto in_run = [&](const char* name) { return (run / name).string(); };

  SECTION("metrics") {
    std::filesystem::remove(in_run("metrics.jsonl"));
    const std::string page = report_of(run);
    CHECK(contains(section_of(page, "training"), "no metrics"));
    CHECK_FALSE(contains(page, "<dt>Epochs</dt>"));
    CHECK(contains(page, "<dt>Accuracy, validation</dt>"));
    write_text(in_run("metrics.jsonl"), "{\"epoch\": 1}\n");
    check_fails({"report", run}, 3, {"metrics.jsonl", "line 1"});
  }
  SECTION("the network") {
    std::filesystem::remove(in_run("best.safetensors"));
    CHECK(contains(report_of(run), "last.safetensors on the"));
    std::filesystem::remove(in_run("last.safetensors"));
    const std::string page = report_of(run);
    for (const char* id : {"evaluation", "mistakes", "kernels", "merging"})
      CHECK(contains(section_of(page, id), "There is no network"));
    CHECK(table_of(page, "Epochs").size() == 3);
  }
  SECTION("the data") {
    std::string config = read_text(in_run("config.json"));
    const std::string data = reported_run().data();
    config.replace(config.find(data), data.size(), "/nowhere/at all");
    write_text(in_run("config.json"), config);
    const Outcome outcome = run_replk({"report", run, "--device", "cpu"});
    CHECK(outcome.code == 0);
    CHECK(contains(outcome.err, "replk: note: the report goes without images: "));
    const std::string page = read_page(run / "report.html");
    CHECK(contains(section_of(page, "evaluation"), "/nowhere/at all"));
    CHECK(table_of(page, "Before and after merging").size() == 3);
    CHECK(pictures_of(section_of(page, "kernels")).size() == 7);
    // A flag says where they are.
    CHECK(table_of(report_of(run, {"--data", data}), "Numbers").at(0)[1] == "40");
  }
  SECTION("what a command asks for") {
    check_fails({"report", run, "--data", "/nowhere"}, 2, {"/nowhere"});
    check_fails({"report", run, "--split", "tests"}, 2, {"--split", "'test'"});
    check_fails({"report", run, "--out", folder / "none" / "page.html"}, 2, {"--out", "none"});
    check_fails({"report", run, "--mistakes", "-1"}, 2, {"--mistakes"});
    check_fails({"report", folder / "nothing"}, 3, {"nothing", "config.json"});
    write_text(in_run("best.safetensors"), "no network");
    check_fails({"report", run}, 3, {"best.safetensors"});
    write_text(in_run("config.json"), "{\"epoch\": 3}");
    check_fails({"report", run}, 2, {"config.json", "'epochs'"});
    CHECK_FALSE(std::filesystem::exists(run / "report.html"));
  }
  SECTION("a merged network") {
    const std::string merged = folder / "merged.safetensors";
    REQUIRE(run_replk({"reparam", run, "-o", merged, "--device", "cpu"}).code == 0);
    std::filesystem::rename(merged, in_run("best.safetensors"));
    std::string page = report_of(run);
    CHECK(table_of(page, "Before and after merging").size() == 2);
    CHECK(pictures_of(section_of(page, "kernels")).size() == 1 + 2);
    REQUIRE(run_replk({"reparam", run, "--fold-bn", "-o", merged, "--device", "cpu"}).code == 0);
    std::filesystem::rename(merged, in_run("best.safetensors"));
    page = report_of(run);
    CHECK(contains(section_of(page, "merging"), "merged already"));
  }
}

TEST_CASE("scripts/report/the_best_epoch_is_the_first_of_the_best") {
  TemporaryFolder folder;
  const std::filesystem::path run = reported_run().copy(folder);
  const std::vector<double> accuracies = {0.5, 0.75, 0.75, 0.25};
  std::vector<EpochMetrics> rows;
  for (const double accuracy : accuracies)
    rows.push_back({.epoch = static_cast<std::int64_t>(rows.size() + 1),
                    .train_accuracy = accuracy / 2,
                    .val_accuracy = accuracy,
                    .seconds = 30});
  write_text(run / "metrics.jsonl", metrics_jsonl(rows));
  for (const char* file : {"best.safetensors", "last.safetensors"}) std::filesystem::remove(run / file);
  CHECK(contains(report_of(run),
                 "<dt>Best validation accuracy</dt>\n<dd>75.00 %</dd>\n<dd class=\"soft\">epoch 2</dd>"));
  CHECK(contains(report_of(run), "<dt>Time</dt>\n<dd>2m00s</dd>\n<dd class=\"soft\">30s an epoch</dd>"));
  for (EpochMetrics& row : rows) row.val_accuracy = std::numeric_limits<double>::quiet_NaN();
  write_text(run / "metrics.jsonl", metrics_jsonl(rows));
  CHECK(contains(report_of(run),
                 "<dt>Best training accuracy</dt>\n<dd>37.50 %</dd>\n<dd class=\"soft\">epoch 2</dd>"));
}

TEST_CASE("scripts/report/worst_mistakes") {
  WorstMistakes mistakes;
  CHECK(mistakes.worst(5).empty());
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Batch batch;
  batch.labels = Tensor::of(std::vector<std::int64_t>{0, 1, 2, 0, 1}, {5});
  batch.indices = {10, 11, 12, 13, 14};
  mistakes.add(batch, Tensor::of(std::vector<float>{2, 1, 0,    // right
                                                    3, 1, 0,    // wrong
                                                    900, 0, 0,  // very wrong, and large
                                                    0, nan, 0,  // no answer at all
                                                    3, 1, 0},   // as wrong as the second
                                 {5, 3}));
  const std::vector<Mistake> worst = mistakes.worst(10);
  std::vector<std::int64_t> order;
  for (const Mistake& mistake : worst) order.push_back(mistake.index);
  // The network's answer to a NaN is its first class, which was right by chance.
  CHECK(order == std::vector<std::int64_t>{12, 11, 14});
  CHECK(worst[0].loss == Approx(900));
  CHECK(worst[0].probability == Approx(1));
  CHECK(worst[0].predicted == 0);
  CHECK(worst[0].label == 2);
  const double sum = std::exp(3.0) + std::exp(1.0) + 1;
  CHECK(worst[1].loss == Approx(std::log(sum) - 1));
  CHECK(worst[1].probability == Approx(std::exp(3.0) / sum));
  CHECK(mistakes.worst(1).size() == 1);
  CHECK(mistakes.worst(0).empty());
}

TEST_CASE("scripts/report/in_a_browser") {
  if (!installed("chromium")) {
    WARN("skipped: chromium is not installed (scripts/install.sh --browser installs it)");
    return;
  }
  TemporaryFolder folder;
  const std::string run = reported_run().copy(folder);
  const std::string page = report_of(run), file = "file://" + run + "/report.html",
                    picture = folder / "page.png";
  const auto browse = [&](const std::vector<std::string>& what) {
    std::vector<std::string> command = {"chromium",
                                        "--headless",
                                        "--no-sandbox",
                                        "--disable-gpu",
                                        "--enable-logging=stderr",
                                        "--user-data-dir=" + (folder / "profile").string()};
    command.insert(command.end(), what.begin(), what.end());
    command.push_back(file);
    return Process(command, {{"HOME", folder.path()}}).wait(120);
  };
  const Outcome dom = browse({"--dump-dom"});
  INFO(dom.err);
  REQUIRE(dom.code == 0);
  CHECK_FALSE(contains(dom.err, "CONSOLE"));  // nothing was refused or broken
  // Read as HTML, it has what it has as XML.
  for (const char* part : {"<section ", "<svg ", "<img ", "<tr", "<circle ", "<h2 ", "<li "})
    CHECK(count(dom.out, part) == count(page, part));
  CHECK(contains(dom.out, "<title>replknet-nano on "));

  for (const char* scheme : {"light", "dark"}) {
    std::filesystem::remove(picture);
    std::vector<std::string> flags = {"--screenshot=" + picture, "--window-size=1200,3000",
                                      "--hide-scrollbars"};
    if (std::string(scheme) == "dark") flags.push_back("--blink-settings=preferredColorScheme=0");
    const Outcome shot = browse(flags);
    INFO(shot.err);
    REQUIRE(shot.code == 0);
    const Image image = load_image(picture, 3);
    CHECK(image.width == 1200);
    // The page's own background at its left edge, beside what it shows.
    const bool dark = image.at(1500, 4, 0) < 60;
    CHECK(dark == (std::string(scheme) == "dark"));
    std::int64_t other = 0;
    for (std::int64_t x = 0; x < image.width; ++x) other += image.at(700, x, 0) != image.at(1500, 4, 0);
    CHECK(other > 500);
  }
}

}  // namespace replk::test
