#include "scripts/replk/train_state.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/error.h"
#include "io/safetensors.h"

namespace replk {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFormat = "replk-training-1";
constexpr std::int64_t kMostBatches = std::int64_t{1} << 40;  // in an epoch: keeps products in range

std::string text_of(const TrainState& s) {
  return Json{{"epoch", s.epoch},
              {"batch", s.batch},
              {"batches", s.batches},
              {"images", s.images},
              {"loss_sum", s.loss_sum},
              {"seconds", s.seconds},
              {"correct", s.correct},
              {"seen", s.seen},
              {"best_accuracy", s.best_accuracy},
              {"best_epoch", s.best_epoch},
              {"best_ema_accuracy", s.best_ema_accuracy},
              {"history", metrics_jsonl(s.history)}}
      .dump();
}

TrainState state_from(const std::string& text, const std::string& source) {
  TrainState s;
  try {
    const Json object = Json::parse(text);
    object.at("epoch").get_to(s.epoch);
    object.at("batch").get_to(s.batch);
    object.at("batches").get_to(s.batches);
    object.at("images").get_to(s.images);
    object.at("loss_sum").get_to(s.loss_sum);
    object.at("seconds").get_to(s.seconds);
    object.at("correct").get_to(s.correct);
    object.at("seen").get_to(s.seen);
    object.at("best_accuracy").get_to(s.best_accuracy);
    object.at("best_epoch").get_to(s.best_epoch);
    s.best_ema_accuracy = object.value("best_ema_accuracy", s.best_ema_accuracy);
    s.history = read_metrics_jsonl(object.at("history").get<std::string>(), source + ": history");
  } catch (const nlohmann::json::exception&) {
    throw FileError(str(source, ": metadata 'state': the progress of a training run expected."));
  }
  const bool sane = s.epoch >= 0 && s.batches >= 1 && s.batches <= kMostBatches && s.batch >= 0 &&
                    s.batch <= s.batches && std::cmp_equal(s.history.size(), s.epoch);
  if (!sane)
    throw FileError(str(source, ": metadata 'state': epoch ", s.epoch, ", batch ", s.batch, " of ", s.batches,
                        " and ", s.history.size(), " epochs of history do not go together."));
  return s;
}

std::map<std::string, Tensor> part(const std::map<std::string, Tensor>& tensors, const std::string& prefix,
                                   bool keep_prefix = false) {
  std::map<std::string, Tensor> found;
  for (const auto& [name, tensor] : tensors)
    if (name.starts_with(prefix)) found[keep_prefix ? name : name.substr(prefix.size())] = tensor;
  return found;
}

}  // namespace

void save_train_state(const std::filesystem::path& path, RepLKNet& model, const Optimizer& optimizer,
                      const TrainState& state, const Ema* ema) {
  std::map<std::string, Tensor> tensors;
  for (const NamedTensor& entry : model.state()) tensors["model." + entry.name] = entry.tensor;
  for (const auto& [name, tensor] : optimizer.state()) tensors["optimizer." + name] = tensor;
  if (ema) tensors.merge(ema->state());
  write_safetensors(path, tensors,
                    {{"format", kFormat}, {"config", to_json(model.config())}, {"state", text_of(state)}});
}

TrainState load_train_state(const std::filesystem::path& path, RepLKNet& model, Optimizer& optimizer,
                            Ema* ema) {
  const Safetensors file = read_safetensors(path);
  const std::string name = path.string();
  const auto text = [&](const char* key) {
    const auto found = file.metadata.find(key);
    return found == file.metadata.end() ? std::string() : found->second;
  };
  if (text("format") != kFormat)
    throw FileError(str(name, ": metadata 'format': '", kFormat, "' expected, got '", text("format"),
                        "': not the state of a training run."));
  if (text("config") != to_json(model.config()))
    throw FileError(str(name, ": metadata 'config': the network of this run's configuration expected, ",
                        to_json(model.config()), ", got ", text("config"), "."));
  TrainState state = state_from(text("state"), name);
  try {
    model.load_state_strictly(part(file.tensors, "model."), name);
    optimizer.load_state(part(file.tensors, "optimizer."));
    if (ema) ema->load_state(part(file.tensors, "ema.", true));
  } catch (const Error& error) {
    const std::string what = error.what();
    throw FileError(what.starts_with(name) ? what : str(name, ": ", what));
  }
  if (optimizer.steps() != state.epoch * state.batches + state.batch)
    throw FileError(str(name, ": epoch ", state.epoch, ", batch ", state.batch, " of ", state.batches,
                        " does not go with the optimizer's step ", optimizer.steps(), "."));
  return state;
}

}  // namespace replk
