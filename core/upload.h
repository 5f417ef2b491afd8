// Upload: brings a tensor from the CPU to a device while kernels run there.
#pragma once

#include <memory>

#include "core/tensor.h"

namespace replk {

/// One copy on its way. Started before the kernels of a step are launched, it runs beside them:
///   Upload next(batch, device);      // batch in Tensor::pinned memory
///   ... launch a step ...
///   Tensor x = next.get();           // kernels launched from here on wait for the copy; the host does not
///
/// It waits for kernels launched before it was made, since they may still use the memory it was given. From
/// memory that is not pinned the host makes the copy itself, at once. The destructor waits for the copy,
/// since the memory is given back then. To the CPU it is the tensor itself.
class Upload {
 public:
  Upload();
  Upload(const Tensor& from, Device device);
  ~Upload();
  Upload(Upload&&) noexcept;
  Upload& operator=(Upload&&) noexcept;

  /// The tensor on the device. Throws Error when nothing was started.
  Tensor get();
  /// True when the copy is over, so that the source may be written again.
  bool done() const;

 private:
  struct Flight;
  std::unique_ptr<Flight> flight_;
};

}  // namespace replk
