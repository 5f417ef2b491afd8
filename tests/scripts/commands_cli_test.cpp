// summary, eval, predict, reparam and data as a user runs them, when everything is as it should be.
#include <nlohmann/json.hpp>

#include "data/codec.h"
#include "data/resize.h"
#include "scripts/replk/text.h"
#include "tests/scripts/command_files.h"
#include "tests/support/catch.h"

namespace replk::test {
namespace {

using Json = nlohmann::json;

// Parameters by the table of the architecture: convolutions without bias, two numbers per channel of a batch
// norm, a linear head with bias.
std::int64_t expected_parameters(const RepLKNetConfig& c) {
  const std::int64_t width = c.channels[0];
  std::int64_t sum = 9 * c.in_channels * width + 9 * width + width * width + 9 * width + 4 * 2 * width;
  for (std::size_t stage = 0; stage < c.channels.size(); ++stage) {
    const std::int64_t channels = c.channels[stage], kernel = c.large_kernel_sizes[stage];
    const auto dw = static_cast<std::int64_t>(static_cast<double>(channels) * c.dw_ratio);
    const auto hidden = static_cast<std::int64_t>(static_cast<double>(channels) * c.ffn_ratio);
    const std::int64_t small = c.small_kernel > 0 ? dw * (c.small_kernel * c.small_kernel + 2) : 0;
    const std::int64_t large_block = 2 * channels + channels * dw + 2 * dw + dw * (kernel * kernel + 2) +
                                     small + dw * channels + 2 * channels;
    const std::int64_t ffn = 2 * channels + 2 * channels * hidden + 2 * hidden + 2 * channels;
    sum += c.layers[stage] * (large_block + ffn);
    if (stage + 1 == c.channels.size()) break;
    const std::int64_t next = c.channels[stage + 1];
    sum += channels * next + 2 * next + 9 * next + 2 * next;
  }
  return sum + 2 * c.channels.back() + (c.channels.back() + 1) * c.num_classes;
}

// Multiply-adds for a square image of `side` pixels, every stride rounding up.
std::int64_t expected_macs(const RepLKNetConfig& c, std::int64_t side) {
  const std::int64_t width = c.channels[0];
  side = (side + c.stem_strides[0] - 1) / c.stem_strides[0];
  std::int64_t sum = side * side * (9 * c.in_channels * width + 9 * width + width * width);
  side = (side + c.stem_strides[1] - 1) / c.stem_strides[1];
  sum += side * side * 9 * width;
  for (std::size_t stage = 0; stage < c.channels.size(); ++stage) {
    const std::int64_t channels = c.channels[stage], kernel = c.large_kernel_sizes[stage];
    const auto dw = static_cast<std::int64_t>(static_cast<double>(channels) * c.dw_ratio);
    const auto hidden = static_cast<std::int64_t>(static_cast<double>(channels) * c.ffn_ratio);
    const std::int64_t taps = kernel * kernel + c.small_kernel * c.small_kernel;
    sum += c.layers[stage] * side * side * (2 * channels * dw + dw * taps + 2 * channels * hidden);
    if (stage + 1 == c.channels.size()) break;
    const std::int64_t next = c.channels[stage + 1], half = (side + 1) / 2;
    sum += side * side * channels * next + half * half * 9 * next;
    side = half;
  }
  return sum + c.channels.back() * c.num_classes;
}

// The numbers in the row of a table that starts with `name`, after the name.
std::string row_of(const std::string& table, const std::string& name) {
  const std::size_t start = ("\n" + table).find("\n" + name);
  REQUIRE(start != std::string::npos);
  const std::string row = table.substr(start, table.find('\n', start) - start);
  const std::size_t first = row.find_first_not_of(' ', name.size());
  return first == std::string::npos ? "" : row.substr(first);
}

std::string png_file(const std::string& name, const Image& image) {
  const std::vector<std::uint8_t> bytes = encode_png(image);
  write_text(name, std::string(bytes.begin(), bytes.end()));
  return name;
}

}  // namespace

TEST_CASE("scripts/summary/presets_have_their_parameters") {
  for (const char* name : {"replknet-nano", "replknet-tiny", "replknet-small"}) {
    const Outcome outcome = run_replk({"summary", name});
    CHECK(outcome.code == 0);
    CHECK(outcome.err == "");
    const std::string macs = format_si(static_cast<double>(expected_macs(preset(name), 28)));
    CHECK(row_of(outcome.out, "as it is")
              .starts_with(format_count(expected_parameters(preset(name))) + "  " + macs + " "));
  }
  // The published model: 79 M parameters (paper table 5).
  const Outcome outcome = run_replk({"summary", "replknet-31b", "--image-size", "32"});
  CHECK(row_of(outcome.out, "as it is").starts_with("79,864,168 "));
  CHECK(expected_parameters(preset("replknet-31b")) == 79'864'168);
  CHECK(contains(outcome.out, "stages.0.blocks.0   RepLK block 31x31 + 5x5  (128, 8, 8)"));
  CHECK(contains(outcome.out, "input (3, 32, 32), 1000 classes"));
}

TEST_CASE("scripts/summary/layers_and_totals") {
  const Outcome blocks = run_replk({"summary", "replknet-nano"});
  CHECK(row_of(blocks.out, "head").starts_with("linear                   (10)"));
  // A ConvFFN of 40 channels: two 1x1 convolutions to and from 160 channels, three batch norms.
  CHECK(contains(row_of(blocks.out, "stages.0.blocks.1"),
                 format_count(2 * 40 * 160 + 2 * (40 + 160 + 40)) + "  "));
  const Outcome layers = run_replk({"summary", "replknet-nano", "--layers"});
  CHECK(layers.code == 0);
  CHECK(contains(layers.out, "stages.0.blocks.0.large_kernel.lkb_origin.conv"));
  // 13x13 taps of 40 channels on a 14x14 map.
  const std::string row = row_of(layers.out, "stages.0.blocks.0.large_kernel.lkb_origin.conv");
  CHECK(contains(row, "depth-wise 13x13"));
  CHECK(contains(row, format_count(40 * 13 * 13) + "  " + format_si(40 * 13 * 13 * 14 * 14)));
  // Both views have the same totals.
  const std::size_t totals = blocks.out.find("\ntotal");
  CHECK(row_of(blocks.out, "total").substr(0, 6) == row_of(layers.out, "total").substr(0, 6));
  CHECK(totals != std::string::npos);

  // Merging removes the 5x5 kernels and the batch norms beside them: per depth-wise channel 25 weights and
  // 2 + 2 of the norms, less one bias.
  const std::int64_t channels = 40 + 72, before = expected_parameters(preset("replknet-nano"));
  CHECK(row_of(blocks.out, "large kernels merged")
            .starts_with(format_count(before - channels * (25 + 4 - 1)) + " "));
}

TEST_CASE("scripts/summary/checkpoints") {
  const CommandFiles& files = command_files();
  const Outcome outcome = run_replk({"summary", files.checkpoint().string()});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.out, "(replknet-test): input (1, 16, 16), 3 classes"));
  CHECK(row_of(outcome.out, "as it is")
            .starts_with(format_count(expected_parameters(files.model->config())) + " "));
}

TEST_CASE("scripts/eval/numbers_are_those_of_the_network") {
  const CommandFiles& files = command_files();
  double loss = 0;
  std::vector<std::int64_t> answers(kClasses);
  for (std::int64_t i = 0; i < kImages; ++i) {
    const auto& p = files.probabilities[static_cast<std::size_t>(i)];
    loss -= std::log(p[static_cast<std::size_t>(files.label(i))]) / kImages;
    ++answers[static_cast<std::size_t>(CommandFiles::best(p))];
  }
  for (const std::int64_t count : answers) REQUIRE(count > 0);  // or the test would see little

  const Outcome outcome = run_replk({"eval", files.checkpoint().string(), "--json", "--batch-size", "7",
                                     "--confusion", files.text_path("confusion.svg")});
  CHECK(outcome.code == 0);
  CHECK(outcome.err == "");
  const Json result = Json::parse(outcome.out);
  CHECK(result["images"] == kImages);
  CHECK(result["accuracy"].get<double>() == Approx(0.8));
  CHECK(result["top5"].get<double>() == Approx(1));
  CHECK(result["loss"].get<double>() == Approx(loss).epsilon(1e-4));
  REQUIRE(result["classes"].size() == kClasses);
  for (std::int64_t k = 0; k < kClasses; ++k) {
    std::int64_t images = 0, right = 0;
    for (std::int64_t i = 0; i < kImages; ++i) {
      images += files.label(i) == k;
      right += files.label(i) == k && i % kWrongEvery != 0;
    }
    const Json& entry = result["classes"][static_cast<std::size_t>(k)];
    CHECK(entry["images"] == images);
    CHECK(entry["accuracy"].get<double>() ==
          Approx(static_cast<double>(right) / static_cast<double>(images)));
  }
  CHECK(contains(read_text(files.path("confusion.svg")), "48 of 60 right: 80.00 %"));

  const Outcome text = run_replk({"eval", files.checkpoint().string(), "--split", "train"});
  CHECK(text.code == 0);
  CHECK(row_of(text.out, "accuracy") == "80.00 %");
}

TEST_CASE("scripts/predict/files_folders_and_samples") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  const std::string top = png_file(folder / "b" / "one.PNG", files.images[1]);
  // Grey as RGB is the same picture.
  const std::string colour = png_file(folder / "a.png", convert_channels(files.images[2], 3));
  write_text(folder / "notes.txt", "not an image, and not one by name");
  const std::string idx = (files.data() / "t10k-images-idx3-ubyte").string() + ":3";

  const Outcome outcome = run_replk({"predict", files.checkpoint().string(), folder.path().string(), idx,
                                     "--index", "0,4", "--json", "--top", "2"});
  CHECK(outcome.code == 0);
  CHECK(outcome.err == "");
  const Json result = Json::parse(outcome.out);
  CHECK(result["errors"].empty());
  const std::vector<std::pair<std::string, std::size_t>> expected = {
      {colour, 2}, {top, 1}, {idx, 3}, {"", 0}, {"", 4}};
  REQUIRE(result["predictions"].size() == expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Json& entry = result["predictions"][i];
    const auto& [name, image] = expected[i];
    INFO(entry.dump());
    if (name.empty())
      CHECK(entry["label"] == std::to_string(files.label(static_cast<std::int64_t>(image))));
    else
      CHECK(entry["image"] == name);
    std::vector<double> p = files.probabilities[image];
    REQUIRE(entry["top"].size() == 2);
    CHECK(entry["top"][0]["index"] == CommandFiles::best(p));
    CHECK(entry["top"][0]["class"] == std::to_string(CommandFiles::best(p)));
    CHECK(entry["top"][0]["probability"].get<double>() ==
          Approx(p[static_cast<std::size_t>(CommandFiles::best(p))]).epsilon(1e-4));
    std::sort(p.begin(), p.end());
    CHECK(entry["top"][1]["probability"].get<double>() == Approx(p[1]).epsilon(1e-3));
  }

  const Outcome text = run_replk({"predict", files.checkpoint().string(), "--index", "0,1,2,3,4"});
  CHECK(text.code == 0);
  CHECK(contains(text.out, "4 of 5 right"));  // sample 0 has a wrong label
}

TEST_CASE("scripts/predict/images_of_another_size") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  // Twice as large, every pixel four times: shrinking gives nearly the same picture again.
  const Image& small = files.images[6];
  Image large = Image::filled(2 * kSide, 2 * kSide, 3);
  for (std::int64_t y = 0; y < large.height; ++y)
    for (std::int64_t x = 0; x < large.width; ++x)
      for (std::int64_t c = 0; c < 3; ++c) large.at(y, x, c) = small.at(y / 2, x / 2, 0);
  const Image shrunk = convert_channels(resize(large, kSide, kSide), 1);
  const std::vector<double> p = files.probabilities_of(shrunk);
  const Outcome outcome =
      run_replk({"predict", files.checkpoint().string(), png_file(folder / "large.png", large), "--json"});
  CHECK(outcome.code == 0);
  const Json top = Json::parse(outcome.out)["predictions"][0]["top"];
  REQUIRE(top.size() == kClasses);  // no more than there are
  // Grey before shrinking or after it may differ by one step of a byte.
  CHECK(top[0]["probability"].get<double>() ==
        Approx(p[static_cast<std::size_t>(CommandFiles::best(p))]).epsilon(0.05));
}

TEST_CASE("scripts/predict/one_bad_image_does_not_stop_the_others") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  const std::string good = png_file(folder / "good.png", files.images[0]);
  const std::string cut = folder / "cut.png", lie = folder / "lie.jpg";
  write_text(cut, read_text(good).substr(0, 60));
  write_text(lie, "<html>not found</html>");
  const std::string beyond = (files.data() / "t10k-images-idx3-ubyte").string() + ":60";
  const std::vector<std::string> bad = {cut, lie, folder / "missing.png", beyond};
  std::vector<std::string> command = {"predict", files.checkpoint().string(), "--json", bad[0], bad[1], good};
  command.insert(command.end(), bad.begin() + 2, bad.end());

  const Outcome outcome = run_replk(command);
  CHECK(outcome.code == 3);
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 4);
  for (const std::string& path : bad) {
    INFO(path);
    CHECK(contains(outcome.err, "replk: " + path.substr(0, path.rfind(':')) + ": "));
  }
  const Json result = Json::parse(outcome.out);
  REQUIRE(result["predictions"].size() == 1);
  CHECK(result["predictions"][0]["image"] == good);
  CHECK(result["predictions"][0]["top"][0]["index"] == CommandFiles::best(files.probabilities[0]));
  CHECK(result["errors"].size() == 4);
}

TEST_CASE("scripts/reparam/merges_and_keeps_the_answers") {
  const CommandFiles& files = command_files();
  const std::string merged = files.text_path("merged.safetensors"),
                    folded = files.text_path("folded.safetensors");
  const Outcome first = run_replk({"reparam", files.checkpoint().string(), "-o", merged});
  CHECK(first.code == 0);
  CHECK(first.err == "");
  CHECK(contains(first.out, "same prediction: 60 of 60 (100.00 %)"));
  // In two steps, and with the network's own data set out of reach.
  const Outcome second = run_replk(
      {"reparam", merged, "--out", folded, "--fold-bn", "--images", "10", "--data", files.data().string()});
  CHECK(second.code == 0);
  CHECK(contains(second.out, "same prediction: 10 of 10"));

  CHECK(read_checkpoint(merged).config.small_kernel_merged);
  CHECK_FALSE(read_checkpoint(merged).config.batch_norm_folded);
  const Checkpoint result = read_checkpoint(folded);
  CHECK(result.config.batch_norm_folded);
  for (const auto& [name, tensor] : result.weights) CHECK_FALSE(contains(name, "bn"));
  CHECK(to_json(result.card()) == to_json(files.card));

  // The answers, image by image, against the network before merging.
  const auto model = build_model(result);
  for (std::size_t i = 0; i < files.images.size(); ++i) {
    const Tensor bytes = Tensor::of(files.images[i].pixels, {1, kSide, kSide, 1});
    const Tensor x = normalize_images(bytes, files.card.mean, files.card.std);
    const std::vector<double> a = (*files.model)(x).data().to_vector(), b = (*model)(x).data().to_vector();
    for (std::size_t k = 0; k < a.size(); ++k) CHECK(b[k] == Approx(a[k]).epsilon(1e-4).margin(1e-4));
  }
  for (const std::string& path : {merged, folded})
    CHECK(Json::parse(run_replk({"eval", path, "--json"}).out)["accuracy"].get<double>() == Approx(0.8));
}

TEST_CASE("scripts/reparam/random_images_where_there_is_no_data_set") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  ModelCard card = files.card;
  card.dataset = folder / "gone";
  save_checkpoint(folder / "model.safetensors", *make_network(), metadata_of(card));
  const Outcome outcome = run_replk(
      {"reparam", folder / "model.safetensors", "-o", folder / "out.safetensors", "--images", "20"});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.err, "note: random images are used"));
  CHECK(contains(outcome.out, "compared on 20 images of random images"));
  CHECK(read_checkpoint(folder / "out.safetensors").config.small_kernel_merged);
}

TEST_CASE("scripts/data/statistics_and_contact_sheet") {
  const CommandFiles& files = command_files();
  const std::string sheet = files.text_path("sheet.png");
  const Outcome outcome = run_replk(
      {"data", files.data().string(), "--split", "test", "--sheet", sheet, "--rows", "2", "--cols", "4"});
  CHECK(outcome.code == 0);
  CHECK(outcome.err == "");
  CHECK(row_of(outcome.out, "images") == "60");
  CHECK(row_of(outcome.out, "size") == "16x16");
  double sum = 0;
  std::int64_t zeros = 0;
  for (std::int64_t i = 0; i < kImages; ++i) {
    for (const std::uint8_t byte : files.images[static_cast<std::size_t>(i)].pixels) sum += byte / 255.0;
    zeros += files.label(i) == 0;
  }
  CHECK(std::stod(row_of(outcome.out, "mean")) == Approx(sum / (kImages * kSide * kSide)).margin(6e-5));
  CHECK(contains(outcome.out, "    0  0          " + std::to_string(zeros) + "  "));
  const Image picture = load_image(sheet);
  CHECK(picture.channels == 3);
  CHECK(picture.width > picture.height);
}

}  // namespace replk::test
