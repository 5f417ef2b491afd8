#include "core/tensor.h"

#include <algorithm>
#include <cstring>

#include "core/cuda/runtime.h"
#include "core/dry_run.h"

namespace replk {
namespace {

// Bytes from one device to another; only the CPU exists in a build without CUDA.
void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes) {
  if (DryRun::current()) return;
  if (to_device.is_cpu() && from_device.is_cpu()) {
    if (bytes > 0) std::memcpy(to, from, bytes);
  } else if constexpr (kHasCuda) {
    cuda::copy_bytes(to, to_device, from, from_device, bytes);
  }
}

// Versions of all storages together, so that no two are ever alike.
std::uint64_t next_version() {
  static std::atomic<std::uint64_t> last = 0;
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

}  // namespace

Tensor::Storage::Storage(Allocator& from, std::size_t size)
    : allocator(from), bytes(size), memory(from.allocate(size)), version(next_version()) {}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  return empty_from(allocator_for(device), shape, dtype, device);
}

Tensor Tensor::pinned(const Shape& shape, DType dtype) {
  return empty_from(pinned_allocator(), shape, dtype, Device::cpu());
}

Tensor Tensor::empty_from(Allocator& allocator, const Shape& shape, DType dtype, Device device) {
  Tensor result;
  result.shape_ = shape;
  result.dtype_ = dtype;
  result.device_ = device;
  std::size_t bytes = 0;
  check(!__builtin_mul_overflow(static_cast<std::size_t>(shape.numel()), size_of(dtype), &bytes),
        "tensor: ", shape, " of ", dtype, " does not fit in memory.");
  bytes = std::max<std::size_t>(bytes, 1);  // an empty tensor still has storage, so that defined() is true
  result.storage_ = std::make_shared<Storage>(allocator, bytes);
  result.memory_ = result.storage_->memory;
  return result;
}

Tensor Tensor::empty_like(const Tensor& other) { return empty(other.shape_, other.dtype_, other.device_); }

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  return full(shape, 0.0, dtype, device);
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor result = empty(shape, dtype, device);
  result.fill(value);
  return result;
}

void* Tensor::raw() {
  if (storage_) storage_->version.store(next_version(), std::memory_order_relaxed);
  return memory_;
}

Tensor Tensor::view(const Shape& shape) const {
  check(shape.numel() == numel(), "view: ", shape_, " has ", numel(), " elements, ", shape, " has ",
        shape.numel(), ".");
  Tensor result = *this;
  result.shape_ = shape;
  return result;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  check(rank() >= 1 && 0 <= begin && begin <= end && end <= size(0), "slice: [", begin, ", ", end,
        ") of the outermost axis of ", shape_, ".");
  std::array<std::int64_t, Shape::kMaxRank> extents{};
  std::copy(shape_.begin(), shape_.end(), extents.begin());
  const std::int64_t row = size(0) ? numel() / size(0) : 0;
  extents[0] = end - begin;
  Tensor result = *this;
  result.shape_ = Shape(std::span<const std::int64_t>(extents.data(), static_cast<std::size_t>(rank())));
  result.memory_ = static_cast<char*>(memory_) + static_cast<std::size_t>(begin * row) * size_of(dtype_);
  return result;
}

Tensor Tensor::clone() const {
  Tensor result = empty_like(*this);
  result.copy_from(*this);
  return result;
}

Tensor Tensor::to(Device device) const {
  if (device == device_) return *this;
  Tensor result = empty(shape_, dtype_, device);
  result.copy_from(*this);
  return result;
}

void Tensor::copy_from(const Tensor& source) {
  check(source.shape_ == shape_ && source.dtype_ == dtype_, "copy_from: expected ", *this, ", got ", source,
        ".");
  copy_bytes(raw(), device_, source.memory_, source.device_, bytes());
}

void Tensor::fill(double value) {
  if (DryRun::current()) return;
  if constexpr (kHasCuda)
    if (!device_.is_cpu()) return cuda::fill(raw(), dtype_, numel(), value);
  visit(dtype_, [&]<class T>(TypeTag<T>) {
    T element;
    if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, f16>)
      element = T(static_cast<float>(value));
    else
      element = static_cast<T>(value);
    std::fill_n(static_cast<T*>(raw()), numel(), element);
  });
}

double Tensor::item() const {
  check(numel() == 1, "item: one element expected, got ", shape_, ".");
  return to_vector()[0];
}

std::vector<double> Tensor::to_vector() const {
  const Tensor host = to(Device::cpu());
  std::vector<double> values(static_cast<std::size_t>(numel()));
  visit(dtype_, [&]<class T>(TypeTag<T>) {
    const T* from = static_cast<const T*>(host.memory_);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if constexpr (std::is_same_v<T, bf16> || std::is_same_v<T, f16>)
        values[i] = static_cast<double>(static_cast<float>(from[i]));
      else
        values[i] = static_cast<double>(from[i]);
    }
  });
  return values;
}

void Tensor::require_dtype(DType wanted) const {
  check(dtype_ == wanted, "tensor: its elements are ", dtype_, ", not ", wanted, ".");
}

std::ostream& operator<<(std::ostream& out, const Tensor& tensor) {
  if (!tensor.defined()) return out << "an empty tensor";
  return out << tensor.dtype() << ' ' << tensor.shape() << " on " << tensor.device();
}

}  // namespace replk
