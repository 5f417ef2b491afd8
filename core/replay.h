// Replay: a function that launches many kernels, recorded once on a GPU and launched as a whole from then on.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace replk {

/// Runs f. While a Replay records, f is kept instead, and runs on the CPU each time before the recording
/// does: for what changes from one run to the next and is no kernel (a count of steps).
void before_each_run(std::function<void()> f);
/// A tensor with the elements of what make() returns; while a Replay records, one that gets them before each
/// run: numbers that kernels read and that change from one run to the next (a learning rate, random numbers).
Tensor renewed_each_run(const Shape& shape, DType dtype, Device device, std::function<Tensor()> make);

/// A function of tensors that is run again and again. Launching a kernel takes the CPU some microseconds,
/// longer than a GPU needs for a small one; so on a GPU the second run for inputs of one shape is recorded
/// (a CUDA graph), and from then on such a run is a single launch and the function is not called any more.
/// The kernels and their order are the same, and so are the bits.
///
/// Beside launching kernels the function may do nothing that matters but through the two above, and it must
/// not wait for the GPU: a copy to or from the CPU throws Error while it is recorded. What it uses beside its
/// inputs must stay where it is. The memory of the tensors it makes stays with the recording.
///
/// Nothing is recorded on a CPU, with REPLK_SYNC=1, while profiling, in a dry run, and for inputs of other
/// shapes than those recorded (the last, smaller batch): then the function is called. So it is when the
/// recording does not fit into memory or takes more than half of it, which would be missing elsewhere (in
/// evaluation): why_not tells.
class Replay {
 public:
  using Function = std::function<std::vector<Tensor>(const std::vector<Tensor>& inputs)>;

  explicit Replay(bool allowed = true);
  ~Replay();
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;

  /// f(inputs), whose device is the first input's; inputs and outputs may be undefined. The caller owns the
  /// outputs: the next run does not write to them. Call it with the same f each time.
  std::vector<Tensor> run(const std::vector<Tensor>& inputs, const Function& f);
  /// Kernels and copies in the recording; 0 as long as there is none.
  std::size_t size() const;
  /// Why there will be none although there could, as a sentence; else empty.
  const std::string& why_not() const { return why_not_; }

 private:
  struct Recording;
  bool worth_recording(const std::vector<Tensor>& inputs);
  void record(const std::vector<Tensor>& inputs, const Function& f);

  bool allowed_;
  std::string why_not_;
  std::vector<Tensor> last_inputs_;  // their shapes count, not what is in them
  std::unique_ptr<Recording> recording_;
};

namespace detail {
/// While this thread records: who hands out memory on the GPU, else null.
inline constinit thread_local Allocator* recording_allocator = nullptr;
}  // namespace detail

}  // namespace replk
