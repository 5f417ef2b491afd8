// Tensor: a contiguous array of numbers on a device. Knows nothing of gradients.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "core/allocator.h"
#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace replk {

/// A value that is cheap to copy: copies share storage. Always contiguous, outermost axis first; `view` and
/// `slice` share storage, every other rearrangement is an operator. Default-constructed it is empty: no
/// storage, defined() is false.
class Tensor {
 public:
  Tensor() = default;

  /// Uninitialised memory. Throws Error when there is none left.
  static Tensor empty(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
  /// Uninitialised, on the CPU, in page-locked memory where there is a GPU: for Upload.
  static Tensor pinned(const Shape& shape, DType dtype = DType::f32);
  /// Uninitialised, with the shape, dtype and device of `other`.
  static Tensor empty_like(const Tensor& other);
  static Tensor zeros(const Shape& shape, DType dtype = DType::f32, Device device = Device::cpu());
  static Tensor full(const Shape& shape, double value, DType dtype = DType::f32,
                     Device device = Device::cpu());
  /// A CPU tensor holding a copy of `values`, whose count must match the shape.
  template <class T>
  static Tensor of(std::span<const T> values, const Shape& shape);
  template <class T>
  static Tensor of(const std::vector<T>& values, const Shape& shape) {
    return of(std::span<const T>(values), shape);
  }

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t size(int axis) const { return shape_[axis]; }
  int rank() const { return shape_.rank(); }
  std::int64_t numel() const { return shape_.numel(); }
  std::size_t bytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }

  /// Pointer to the first element. Throws Error when T is not the tensor's dtype.
  template <class T>
  T* data() {
    require_dtype(dtype_of<T>());
    return static_cast<T*>(raw());
  }
  template <class T>
  const T* data() const {
    require_dtype(dtype_of<T>());
    return static_cast<const T*>(raw());
  }
  void* raw();
  const void* raw() const { return memory_; }

  /// The same elements under another shape of equal numel; shares storage.
  Tensor view(const Shape& shape) const;
  /// Entries [begin, end) of the outermost axis; shares storage.
  Tensor slice(std::int64_t begin, std::int64_t end) const;
  /// A copy with storage of its own.
  Tensor clone() const;
  /// A copy on `device`, or this tensor where it is there already. To and from the CPU it waits for the
  /// device.
  Tensor to(Device device) const;
  /// Overwrites the elements with those of `source`: same shape and dtype, any device.
  void copy_from(const Tensor& source);
  /// Sets every element.
  void fill(double value);
  /// The only element, as a double. Waits for the device.
  double item() const;
  /// All elements of a CPU or device tensor as doubles (tests, tables, plots).
  std::vector<double> to_vector() const;

  /// True when no other tensor shares this storage, so that it may be written without anyone noticing.
  bool unique() const { return storage_.use_count() == 1; }
  /// A number that changes whenever somebody may have written to this storage (asked for a pointer that is
  /// not const), and that no other storage ever has: what was computed from a tensor stays valid as long as
  /// both this and raw() stay the same. See Prepared.
  std::uint64_t version() const { return storage_ ? storage_->version.load(std::memory_order_relaxed) : 0; }
  /// True when both share storage.
  bool shares_storage(const Tensor& other) const { return storage_ && storage_ == other.storage_; }

 private:
  // The whole allocation, given back to its allocator with the last tensor that shares it.
  struct Storage {
    Storage(Allocator& allocator, std::size_t bytes);
    ~Storage() { allocator.deallocate(memory, bytes); }
    Storage(const Storage&) = delete;
    Storage& operator=(const Storage&) = delete;

    Allocator& allocator;
    std::size_t bytes;
    void* memory;
    std::atomic<std::uint64_t> version;
  };
  static Tensor empty_from(Allocator& allocator, const Shape& shape, DType dtype, Device device);
  void require_dtype(DType wanted) const;

  std::shared_ptr<Storage> storage_;
  void* memory_ = nullptr;  // the first element of this tensor inside the storage
  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_;
};

template <class T>
Tensor Tensor::of(std::span<const T> values, const Shape& shape) {
  check(static_cast<std::int64_t>(values.size()) == shape.numel(), "Tensor::of: shape ", shape, " holds ",
        shape.numel(), " elements, got ", values.size(), ".");
  Tensor result = empty(shape, dtype_of<T>());
  std::copy(values.begin(), values.end(), result.data<T>());
  return result;
}

/// "f32 (3, 4) on cpu": what error messages show of a tensor.
std::ostream& operator<<(std::ostream& out, const Tensor& tensor);

}  // namespace replk
