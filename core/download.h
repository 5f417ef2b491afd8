// Download: brings a tensor from a device to the CPU while kernels run there.
#pragma once

#include <memory>

#include "core/tensor.h"

namespace replk {

/// One copy on its way, started after the kernels launched before it; those launched later run beside it:
///   Download loss(tensor);
///   ... launch the next step ...
///   loss.get().item();       // waits for the copy alone
///
/// From the CPU it is the tensor itself. The destructor waits for the copy.
class Download {
 public:
  Download();
  explicit Download(const Tensor& from);
  ~Download();
  Download(Download&&) noexcept;
  Download& operator=(Download&&) noexcept;

  /// The tensor on the CPU; waits until it is there. Throws Error when nothing was started.
  Tensor get();

 private:
  struct Flight;
  std::unique_ptr<Flight> flight_;
};

}  // namespace replk
