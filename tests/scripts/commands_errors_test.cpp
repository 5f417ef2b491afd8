// What the commands do with broken files and wrong requests: one line on standard error that names file,
// place and expectation, exit code 2 or 3, and nothing that was saved before is touched.
#include "io/safetensors.h"
#include "tests/scripts/command_files.h"
#include "tests/support/catch.h"

namespace replk::test {
namespace {

// Runs a command that must fail with `code`, saying each of `parts`.
void check_fails(const std::vector<std::string>& command, int code, const std::vector<std::string>& parts) {
  const Outcome outcome = run_replk(command);
  std::string line;
  for (const std::string& word : command) line += word + " ";
  INFO(line << "\n" << outcome.err);
  CHECK(outcome.code == code);
  CHECK(is_one_line_error(outcome.err));
  for (const std::string& part : parts) CHECK(contains(outcome.err, part));
}

std::uint64_t header_bytes(const std::string& file) {
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i)
    length = length << 8 | static_cast<unsigned char>(file[static_cast<std::size_t>(i)]);
  return length;
}

}  // namespace

TEST_CASE("scripts/commands/checkpoints_cut_off_anywhere") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  const std::string whole = read_text(files.checkpoint()), cut = folder / "cut.safetensors",
                    out = folder / "out";
  const std::size_t header = 8 + header_bytes(whole);
  write_text(out, "saved before");
  const std::vector<std::size_t> places = {
      0, 5, 8, header / 2, header, header + 1, whole.size() / 2, whole.size() - 1};
  for (const std::size_t place : places) {
    write_text(cut, whole.substr(0, place));
    check_fails({"predict", cut, "--index", "0"}, 3, {cut + ": "});
  }
  write_text(cut, whole.substr(0, whole.size() - 1));
  check_fails({"eval", cut}, 3, {cut + ": "});
  check_fails({"summary", cut}, 3, {cut + ": "});
  check_fails({"reparam", cut, "-o", out}, 3, {cut + ": "});
  CHECK(read_text(out) == "saved before");
  write_text(cut, whole + "x");
  check_fails({"eval", cut}, 3, {cut + ": "});
}

TEST_CASE("scripts/commands/checkpoints_of_another_model") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  const std::string other = folder / "other.safetensors";
  // The weights of one network under the configuration of another: the same tensors, other shapes.
  Safetensors file = read_safetensors(files.checkpoint());
  auto metadata = file.metadata;
  metadata["config"] = to_json(make_network({5, 5})->config());
  write_safetensors(other, file.tensors, metadata);
  const std::string tensor = "stages.0.blocks.0.large_kernel.lkb_origin.conv.weight";
  check_fails({"eval", other}, 3,
              {other + ": ", "another model", tensor, "(8, 1, 5, 5) expected, got (8, 1, 7, 7)"});
  check_fails({"predict", other, "--index", "0"}, 3, {other + ": ", "another model"});

  file.tensors.erase("head.bias");
  write_safetensors(other, file.tensors, file.metadata);
  check_fails({"eval", other}, 3, {other + ": ", "Missing: head.bias"});

  metadata = file.metadata;
  metadata.erase("card");
  write_safetensors(other, read_safetensors(files.checkpoint()).tensors, metadata);
  check_fails({"eval", other}, 3, {other + ": ", "'card'"});
  CHECK(run_replk({"summary", other}).code == 0);

  // Any safetensors file that is no checkpoint, and files that are something else.
  write_safetensors(other, {{"x", Tensor::zeros({2})}});
  check_fails({"summary", other}, 3, {other + ": ", "not the weights of a RepLKNet"});
  write_text(other, "#!/bin/sh\necho hello, this is not a checkpoint\n");
  check_fails({"eval", other}, 3, {other + ": byte 0: "});
  check_fails({"eval", folder / "missing.safetensors"}, 3, {"missing.safetensors: ", "no such file"});
  check_fails({"eval", folder.path().string()}, 3, {"best.safetensors"});
}

TEST_CASE("scripts/commands/names_that_are_nearly_right") {
  const std::string checkpoint = command_files().checkpoint().string();
  check_fails({"summary", "replknet-tny"}, 2, {"'replknet-tny'", "Did you mean 'replknet-tiny'?"});
  check_fails({"data", "fashon-mnist"}, 2, {"fashon-mnist", "Did you mean fashion-mnist?"});
  check_fails({"eval", checkpoint, "--data", "cifar11"}, 2, {"cifar11", "Did you mean cifar10?"});
  check_fails({"eval", checkpoint, "--split", "tets"}, 2, {"'tets'", "Did you mean 'test'?"});
  check_fails({"eval", checkpoint, "--batchsize", "8"}, 2, {"'--batchsize'", "Did you mean '--batch-size'?"});
  check_fails({"evil", checkpoint}, 2, {"'evil'", "Did you mean 'eval'?"});
}

TEST_CASE("scripts/commands/values_out_of_range") {
  const std::string checkpoint = command_files().checkpoint().string();
  check_fails({"summary", "replknet-nano", "--image-size", "0"}, 2, {"--image-size"});
  check_fails({"eval", checkpoint, "--batch-size", "0"}, 2, {"--batch-size"});
  check_fails({"eval", checkpoint, "--threads", "0"}, 2, {"--threads"});
  check_fails({"predict", checkpoint, "--index", "60"}, 2, {"--index", "0 to 59", "got 60"});
  check_fails({"predict", checkpoint, "--index", "1x"}, 2, {"--index"});
  check_fails({"predict", checkpoint}, 2, {"--index"});
  check_fails({"predict", checkpoint, "--data", "fashion-mnist"}, 2, {"--index"});
  check_fails({"predict", checkpoint, "--index", "0", "--top", "0"}, 2, {"--top"});
  check_fails({"reparam", checkpoint, "-o", "x", "--limit", "-1"}, 2, {"--limit"});
  check_fails({"reparam", checkpoint}, 2, {"--out"});
  check_fails({"eval"}, 2, {"checkpoint"});
  for (const std::vector<std::string>& command : {std::vector<std::string>{"eval", checkpoint},
                                                  {"predict", checkpoint, "--index", "0"},
                                                  {"summary", "replknet-nano", "--kernels"},
                                                  {"train"}}) {
    std::vector<std::string> words = command;
    words.insert(words.end(), {"--depthwise-kernel", "ftf"});
    check_fails(words, 2,
                {"--depthwise-kernel: automatic, fft, direct, rows, naive or tensor_core", "'ftf'",
                 "Did you mean 'fft'?"});
  }
  check_fails({"summary", "replknet-nano", "--depthwise-kernel", "fft"}, 2,
              {"--depthwise-kernel", "--kernels"});
  check_fails({"summary", "replknet-nano", "--batch-size", "8"}, 2, {"--batch-size", "--kernels"});
  check_fails({"summary", "replknet-nano", "--kernels", "--batch-size", "0"}, 2, {"--batch-size"});
}

TEST_CASE("scripts/commands/data_that_is_not_what_it_should_be") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  const std::string data = folder / "data", images = folder / "data" / "t10k-images-idx3-ubyte",
                    labels = folder / "data" / "t10k-labels-idx1-ubyte",
                    checkpoint = files.checkpoint().string();
  std::filesystem::copy(files.data(), data);
  const std::string pixels(kImages * kSide * kSide, '\x10');

  write_text(images, idx_file_bytes({kImages + 1, kSide, kSide}, pixels));  // the header lies
  check_fails({"data", data, "--split", "test"}, 3, {images + ": byte "});
  check_fails({"eval", checkpoint, "--data", data}, 3, {images + ": byte "});
  write_text(images, idx_file_bytes({kImages, kSide, kSide}, pixels));
  write_text(labels, idx_file_bytes({kImages - 1}, std::string(kImages - 1, '\1')));  // counts disagree
  check_fails({"eval", checkpoint, "--data", data}, 3, {labels, "60", "59"});
  write_text(labels, idx_file_bytes({kImages}, std::string(kImages, '\4')));  // five classes instead of three
  check_fails({"eval", checkpoint, "--data", data}, 3, {"3 classes expected", "got 5"});
  check_fails({"predict", checkpoint, "--data", data, "--index", "0"}, 3, {"3 classes expected", "got 5"});
  check_fails({"data", data, "--split", "validation"}, 2, {data, "validation"});
  check_fails({"data", files.data().string(), "--sheet", folder / "no" / "sheet.png"}, 3, {"sheet.png"});
  std::filesystem::create_directory(folder / "empty");
  check_fails({"predict", checkpoint, folder / "empty"}, 3,
              {(folder / "empty").string() + ": ", "PNG or JPEG"});
}

TEST_CASE("scripts/commands/other_class_names_are_mentioned") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  ModelCard card = files.card;
  card.classes = {"cat", "dog", "cow <&>"};
  save_checkpoint(folder / "model.safetensors", *make_network(), metadata_of(card));
  const Outcome outcome = run_replk({"eval", folder / "model.safetensors"});
  CHECK(outcome.code == 0);
  CHECK(contains(outcome.err, "note: "));
  CHECK(contains(outcome.err, "other names"));
  CHECK(contains(outcome.out, "cow <&>"));
}

TEST_CASE("scripts/reparam/refuses_past_the_limit") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  const std::string out = folder / "out.safetensors", checkpoint = files.checkpoint().string();
  write_text(out, "saved before");
  const auto refused = [&](const std::string& path, const std::vector<std::string>& parts) {
    const Outcome outcome = run_replk({"reparam", path, "-o", out, "--limit", "0"});
    CHECK(outcome.code == 3);
    CHECK(is_one_line_error(outcome.err));
    for (const std::string& part : parts) CHECK(contains(outcome.err, part));
    CHECK(read_text(out) == "saved before");
  };
  refused(checkpoint, {checkpoint, "at most 0 allowed", out + " was not written"});

  // A network that is broken already: one of its logits is NaN before and after.
  const auto broken = make_network();
  for (NamedTensor& entry : broken->state())
    if (entry.name == "head.bias") entry.tensor.data<float>()[0] = std::nanf("");
  save_checkpoint(folder / "nan.safetensors", *broken, metadata_of(files.card));
  const Outcome outcome = run_replk({"reparam", folder / "nan.safetensors", "-o", out, "--limit", "1"});
  CHECK(outcome.code == 3);
  CHECK(is_one_line_error(outcome.err));
  CHECK(contains(outcome.err, "by nan of"));
  CHECK(read_text(out) == "saved before");
}

TEST_CASE("scripts/reparam/refuses_where_it_makes_no_sense") {
  const CommandFiles& files = command_files();
  TemporaryFolder folder;
  const std::string copy = folder / "copy.safetensors", merged = folder / "merged.safetensors";
  std::filesystem::copy(files.checkpoint(), copy);
  const std::string before = read_text(copy);
  check_fails({"reparam", copy, "-o", copy}, 2, {"--out", copy});
  check_fails({"reparam", copy, "-o", folder / "no" / "such" / "folder"}, 3, {"no/such/folder"});
  CHECK(read_text(copy) == before);
  REQUIRE(run_replk({"reparam", copy, "-o", merged, "--fold-bn"}).code == 0);
  check_fails({"reparam", merged, "-o", folder / "again"}, 2, {merged, "merged already"});
  check_fails({"reparam", merged, "-o", folder / "again", "--fold-bn"}, 2, {merged, "merged already"});
  CHECK_FALSE(std::filesystem::exists(folder / "again"));
}

}  // namespace replk::test
