// Times the kernels that memory or the cache bounds, beside a memcpy of the same tensor: batch norm,
// activations, layer norm. GB/s counts every activation that is read or written once, so that what a kernel
// reads again shows as a lower rate than that of memcpy.
//
//   taskset -c 0 bench_pointwise [--benchmark_filter=batch_norm] [--benchmark_repetitions=9]    (one thread)
#include <benchmark/benchmark.h>

#include <cstring>

#include "core/parallel.h"
#include "core/random.h"
#include "ops/activations/activations.h"
#include "ops/add/add.h"
#include "ops/batch_norm2d/batch_norm2d.h"
#include "ops/layer_norm_channels/layer_norm_channels.h"

using namespace replk;

namespace {

// All kernels of one shape (C, N, S, S), every tensor allocated and touched beforehand.
struct Bench {
  Shape shape;
  BatchNorm2dGeometry norm;
  Tensor x, dy, y, dx, weight, bias, mean, var, running_mean, running_var, dweight, dbias, column_mean,
      column_std;

  explicit Bench(benchmark::State& state)
      : shape({state.range(0), state.range(1), state.range(2), state.range(2)}),
        norm{shape[0], shape.numel() / shape[0]} {
    for (Tensor* t : {&x, &dy, &y, &dx}) *t = Tensor::full(shape, 0.5);
    Random random(1);
    for (std::int64_t i = 0; i < x.numel(); ++i)
      x.data<float>()[i] = static_cast<float>(random.uniform(-3, 3));
    for (Tensor* t : {&weight, &bias, &mean, &var, &running_mean, &running_var, &dweight, &dbias})
      *t = Tensor::full({shape[0]}, 1);
    for (Tensor* t : {&column_mean, &column_std}) *t = Tensor::full({norm.columns}, 1);
  }
};

// Runs f(bench), which reads and writes `activations` tensors of the shape once.
template <class F>
void run(benchmark::State& state, int activations, const F& f) {
  Bench bench(state);
  for (auto _ : state) f(bench);
  state.SetBytesProcessed(state.iterations() * activations * static_cast<std::int64_t>(bench.x.bytes()));
}

void copy(benchmark::State& state) {
  run(state, 2, [](Bench& b) {
    parallel_for(b.x.numel(), 1 << 14, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(b.y.data<float>() + begin, b.x.data<float>() + begin,
                  static_cast<std::size_t>(end - begin) * sizeof(float));
    });
  });
}

void batch_norm_training(benchmark::State& state) {
  run(state, 2, [](Bench& b) {
    cpu::batch_norm2d_forward_training(b.norm, b.x, b.weight, b.bias, {}, b.mean, b.var, b.running_mean,
                                       b.running_var, b.y);
  });
}

void batch_norm_eval(benchmark::State& state) {
  run(state, 2, [](Bench& b) {
    cpu::batch_norm2d_forward_eval(b.norm, b.x, b.weight, b.bias, {.training = false}, b.running_mean,
                                   b.running_var, b.mean, b.var, b.y);
  });
}

void norm_backward(benchmark::State& state, const BatchNorm2dParams& params) {
  run(state, 3, [&](Bench& b) {
    cpu::batch_norm2d_backward(b.norm, {b.x, b.weight, b.bias, b.mean, b.var}, params, b.dy,
                               {{b.dx}, {b.dweight}, {b.dbias}});
  });
}

void batch_norm_gelu(benchmark::State& state) {
  run(state, 2, [](Bench& b) {
    cpu::batch_norm2d_forward_training(b.norm, b.x, b.weight, b.bias, {.activation = Activation::gelu},
                                       b.mean, b.var, b.running_mean, b.running_var, b.y);
  });
}

void batch_norm_relu_backward(benchmark::State& state) {
  norm_backward(state, {.activation = Activation::relu});
}

void batch_norm_gelu_backward(benchmark::State& state) {
  norm_backward(state, {.activation = Activation::gelu});
}

void batch_norm_training_backward(benchmark::State& state) { norm_backward(state, {}); }

void batch_norm_eval_backward(benchmark::State& state) { norm_backward(state, {.training = false}); }

void relu(benchmark::State& state) {
  run(state, 2, [](Bench& b) { cpu::relu_forward(b.x, b.y); });
}

void relu_backward(benchmark::State& state) {
  run(state, 3, [](Bench& b) { cpu::relu_backward(b.x, b.dy, {b.dx}); });
}

void gelu(benchmark::State& state) {
  run(state, 2, [](Bench& b) { cpu::gelu_forward(b.x, b.y); });
}

void gelu_backward(benchmark::State& state) {
  run(state, 3, [](Bench& b) { cpu::gelu_backward(b.x, b.dy, {b.dx}); });
}

void sigmoid(benchmark::State& state) {
  run(state, 2, [](Bench& b) { cpu::sigmoid_forward(b.x, b.y); });
}

void add(benchmark::State& state) {
  run(state, 3, [](Bench& b) { cpu::add_forward(b.x, b.dy, {}, b.y); });
}

void layer_norm(benchmark::State& state) {
  run(state, 2, [](Bench& b) {
    cpu::layer_norm_channels_forward({b.norm.channels, b.norm.columns}, b.x, b.weight, b.bias, 1e-6,
                                     b.column_mean, b.column_std, b.y);
  });
}

void layer_norm_backward(benchmark::State& state) {
  run(state, 5, [](Bench& b) {  // x and dy twice: once along columns, once along rows
    const LayerNormChannelsGeometry g{b.norm.channels, b.norm.columns};
    cpu::layer_norm_channels_backward_input(g, b.x, b.weight, b.column_mean, b.column_std, b.dy, {b.dx});
    cpu::layer_norm_channels_backward_parameters(g, b.x, b.column_mean, b.column_std, b.dy, {b.dweight},
                                                 {b.dbias});
  });
}

// C, N, side: in the second-level cache; a stage of a small network; a row larger than the second-level
// cache.
void shapes(benchmark::internal::Benchmark* b) {
  b->Args({64, 8, 7})->Args({64, 64, 14})->Args({32, 128, 56})->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK(copy)->Apply(shapes);
BENCHMARK(batch_norm_training)->Apply(shapes);
BENCHMARK(batch_norm_training_backward)->Apply(shapes);
BENCHMARK(batch_norm_relu_backward)->Apply(shapes);
BENCHMARK(batch_norm_gelu)->Apply(shapes);
BENCHMARK(batch_norm_gelu_backward)->Apply(shapes);
BENCHMARK(batch_norm_eval)->Apply(shapes);
BENCHMARK(batch_norm_eval_backward)->Apply(shapes);
BENCHMARK(relu)->Apply(shapes);
BENCHMARK(relu_backward)->Apply(shapes);
BENCHMARK(gelu)->Apply(shapes);
BENCHMARK(gelu_backward)->Apply(shapes);
BENCHMARK(sigmoid)->Apply(shapes);
BENCHMARK(add)->Apply(shapes);
BENCHMARK(layer_norm)->Apply(shapes);
BENCHMARK(layer_norm_backward)->Apply(shapes);

}  // namespace

BENCHMARK_MAIN();
