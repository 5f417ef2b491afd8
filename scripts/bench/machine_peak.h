// What the machine can do at most, measured: the limit beside which a benchmark prints what it reached.
#pragma once

namespace replk {

/// f32 multiply-adds (two operations each) from registers, in the widest vectors there are, on all threads.
double peak_gflops();

/// Copying a tensor far larger than the caches, bytes read and written, on all threads.
double copy_gigabytes();

}  // namespace replk
