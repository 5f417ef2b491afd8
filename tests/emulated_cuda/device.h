// A GPU made of one CPU thread: clusters of blocks run one after the other, the threads of a block as fibres
// that change places where they wait for each other.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}  // NOLINT: as CUDA's
};

namespace replk::emulated {

// Of the thread that runs.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
inline unsigned lane() { return threadIdx.x % 32; }

/// Runs `work` (a kernel, a copy) now, or keeps it for the graph that this thread records.
void run_or_record(std::function<void()> work);

/// Runs body() for every thread of every block, `cluster` blocks being a cluster. Ends the process when some
/// threads of a block or warp wait for others that never come.
void launch(unsigned blocks, unsigned threads, std::size_t shared_bytes, unsigned cluster,
            const std::function<void()>& body);

void sync_block();
void sync_warp();
/// A block of a cluster goes on until all of its threads are here, then the next one does: nothing may be in
/// `static` shared memory, which all blocks have in common, across this barrier.
void sync_cluster();
unsigned cluster_size();
/// The number of the block that runs within its cluster.
unsigned cluster_rank();
/// Shared memory of the block that runs, or of another one of its cluster: as many bytes as its launch asked
/// for.
char* dynamic_shared();
char* dynamic_shared_of(unsigned rank);

/// What one thread of a warp shows the others.
using Words = std::array<std::uint32_t, 12>;
/// Shows `words` to the warp; returns what all 32 showed, valid until the next call. All threads of the warp
/// that have not returned must call it together.
const std::array<Words, 32>& exchange(const Words& words);

template <class T>
T from_lane(const T& value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(Words));
  Words words{};
  std::memcpy(words.data(), &value, sizeof(T));
  const auto& shown = exchange(words);
  T result = value;
  if (source < 32) std::memcpy(&result, shown[source].data(), sizeof(T));
  return result;
}

}  // namespace replk::emulated
