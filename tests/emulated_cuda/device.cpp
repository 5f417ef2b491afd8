#include "tests/emulated_cuda/device.h"

#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/fixedsize_stack.hpp>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "tests/emulated_cuda/memory.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#endif

namespace replk::emulated {

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace {

constexpr unsigned kMostThreads = 1024, kMostBlocks = 16, kWarp = 32;  // of a block, of a cluster
constexpr std::size_t kStackBytes = 128 << 10;

enum class State { ready, waits_for_warp, waits_for_block, waits_for_cluster, done };

// Runs one thread after another, on a stack of its own.
struct Fibre {
  boost::context::fiber thread, scheduler;  // the one of the two that does not run
  const char* stack = nullptr;
  State state = State::done;
};

struct Warp {
  unsigned alive, waiting;
  std::array<Words, kWarp> given, shown;
};

// Of the cluster that runs.
struct Block {
  std::deque<Fibre> fibres;
  std::array<Warp, kMostThreads / kWarp> warps;
  unsigned alive = 0, waiting = 0;
  char* shared = nullptr;
  std::size_t shared_bytes = 0;
};

struct Machine {
  std::array<Block, kMostBlocks> blocks;
  const std::function<void()>* body = nullptr;
  unsigned cluster = 1, rank = 0, thread = 0;  // of the thread that runs: the last two
  bool backwards = false;  // every second launch: whoever forgets a barrier does not get away with it twice
  void* fake_stack = nullptr;

  Block& block() { return blocks[rank]; }
  Fibre& fibre() { return block().fibres[thread]; }
};

Machine& machine() {
  static Machine& only = *new Machine;
  return only;
}

// Address sanitizer wants to be told of every change of stacks.
void start_switch(void** save, const void* stack, std::size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __sanitizer_start_switch_fiber(save, stack, bytes);
#else
  static_cast<void>(save), static_cast<void>(stack), static_cast<void>(bytes);
#endif
}
const void* scheduler_stack = nullptr;
std::size_t scheduler_bytes = 0;
void finish_switch(void* fake_stack, bool in_fibre) {
#ifdef __SANITIZE_ADDRESS__
  if (in_fibre)
    __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack, &scheduler_bytes);
  else
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#else
  static_cast<void>(fake_stack), static_cast<void>(in_fibre);
#endif
}

void to_scheduler() {
  Fibre& self = machine().fibre();
  void* fake_stack = nullptr;
  start_switch(&fake_stack, scheduler_stack, scheduler_bytes);
  self.scheduler = std::move(self.scheduler).resume();
  finish_switch(fake_stack, true);
}

void release(Block& block, State waiting, unsigned begin = 0, unsigned end = kMostThreads) {
  for (unsigned t = begin; t < std::min(end, blockDim.x); ++t)
    if (block.fibres[t].state == waiting) block.fibres[t].state = State::ready;
}

void release_block() {
  Block& block = machine().block();
  block.waiting = 0;
  release(block, State::waits_for_block);
}

void release_warp(unsigned w) {
  Block& block = machine().block();
  block.warps[w].waiting = 0;
  block.warps[w].shown = block.warps[w].given;
  release(block, State::waits_for_warp, w * kWarp, (w + 1) * kWarp);
}

void end_thread() {
  Machine& m = machine();
  m.fibre().state = State::done;
  Block& block = m.block();
  Warp& warp = block.warps[m.thread / kWarp];
  --block.alive, --warp.alive;
  if (block.alive > 0 && block.waiting == block.alive) release_block();
  if (warp.alive > 0 && warp.waiting == warp.alive) release_warp(m.thread / kWarp);
}

void enter(unsigned thread) {
  Machine& m = machine();
  m.thread = thread;
  Fibre& fibre = m.fibre();
  threadIdx = {thread, 0, 0};
  start_switch(&m.fake_stack, fibre.stack, kStackBytes);
  fibre.thread = std::move(fibre.thread).resume();
  finish_switch(m.fake_stack, false);
}

void prepare(Fibre& fibre) {
  boost::context::fixedsize_stack allocator(kStackBytes);
  const auto stack = allocator.allocate();
  fibre.stack = static_cast<const char*>(stack.sp) - stack.size;
  fibre.thread =
      boost::context::fiber(std::allocator_arg, boost::context::preallocated(stack.sp, stack.size, stack),
                            allocator, [&fibre](boost::context::fiber&& scheduler) {
                              finish_switch(nullptr, true);
                              fibre.scheduler = std::move(scheduler);
                              for (;;) {
                                (*machine().body)();
                                end_thread();
                                to_scheduler();
                              }
                              return boost::context::fiber();
                            });
}

[[noreturn]] void give_up(const char* message) {
  std::fprintf(stderr, "emulated GPU: block %u: %s\n", blockIdx.x, message);
  std::abort();
}

// Makes block `rank` of the next cluster ready to run.
void start_block(unsigned rank, std::size_t shared_bytes) {
  Block& block = machine().blocks[rank];
  while (block.fibres.size() < blockDim.x) prepare(block.fibres.emplace_back());
  block.alive = blockDim.x, block.waiting = 0;
  for (unsigned w = 0; w * kWarp < blockDim.x; ++w)
    block.warps[w].alive = std::min(kWarp, blockDim.x - w * kWarp), block.warps[w].waiting = 0;
  for (unsigned t = 0; t < blockDim.x; ++t) block.fibres[t].state = State::ready;
  if (block.shared_bytes != shared_bytes || !block.shared) {  // to the byte: address sanitizer sees its end
    std::free(block.shared);
    block.shared = static_cast<char*>(std::aligned_alloc(16, (shared_bytes + 16) / 16 * 16));
    block.shared_bytes = shared_bytes;
  }
  std::memset(block.shared, 0xff, shared_bytes);  // NaN in every type: nothing may count on what was there
}

// Until all threads of block `rank` have returned or wait for the cluster.
void run_block(unsigned rank) {
  Machine& m = machine();
  m.rank = rank;
  Block& block = m.block();
  for (bool moved = true; moved;) {
    moved = false;
    for (unsigned i = 0; i < blockDim.x; ++i) {
      const unsigned t = m.backwards ? blockDim.x - 1 - i : i;
      if (block.fibres[t].state != State::ready) continue;
      enter(t);
      moved = true;
    }
  }
  for (unsigned t = 0; t < blockDim.x; ++t)
    if (const State state = block.fibres[t].state;
        state == State::waits_for_warp || state == State::waits_for_block)
      give_up("some threads wait for others that have returned or wait elsewhere.");
}

}  // namespace

void launch(unsigned blocks, unsigned threads, std::size_t shared_bytes, unsigned cluster,
            const std::function<void()>& body) {
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  const DeviceAccess access;
  Machine& m = machine();
  if (threads == 0 || threads > kMostThreads) give_up("1 to 1,024 threads expected.");
  if (cluster == 0 || cluster > kMostBlocks || blocks % cluster != 0)
    give_up("whole clusters of 1 to 16 blocks expected.");
  m.body = &body;
  m.backwards = !m.backwards;
  m.cluster = cluster;
  gridDim = dim3(blocks), blockDim = dim3(threads);
  for (unsigned first = 0; first < blocks; first += cluster) {
    for (unsigned rank = 0; rank < cluster; ++rank) start_block(rank, shared_bytes);
    for (bool alive = true; alive;) {
      alive = false;
      for (unsigned rank = 0; rank < cluster; ++rank) {
        blockIdx = {first + rank, 0, 0};
        run_block(rank);
        alive = alive || m.blocks[rank].alive > 0;
      }
      for (unsigned rank = 0; rank < cluster; ++rank) release(m.blocks[rank], State::waits_for_cluster);
    }
  }
}

void sync_block() {
  Block& block = machine().block();
  Fibre& self = machine().fibre();
  self.state = State::waits_for_block;
  if (++block.waiting == block.alive) release_block();
  if (self.state != State::ready) to_scheduler();
}

void sync_cluster() {
  machine().fibre().state = State::waits_for_cluster;
  to_scheduler();
}

const std::array<Words, 32>& exchange(const Words& words) {
  Machine& m = machine();
  const unsigned w = m.thread / kWarp;
  Warp& warp = m.block().warps[w];
  warp.given[m.thread % kWarp] = words;
  m.fibre().state = State::waits_for_warp;
  if (++warp.waiting == warp.alive) release_warp(w);
  if (m.fibre().state != State::ready) to_scheduler();
  return warp.shown;
}

void sync_warp() { exchange({}); }

unsigned cluster_size() { return machine().cluster; }
unsigned cluster_rank() { return machine().rank; }
char* dynamic_shared() { return machine().block().shared; }
char* dynamic_shared_of(unsigned rank) {
  if (rank >= machine().cluster) give_up("shared memory of a block that is not of the cluster.");
  return machine().blocks[rank].shared;
}

}  // namespace replk::emulated
