// depthwise_conv2d: every channel convolved with a kernel of its own. The operator RepLKNet is about.
#pragma once

#include "core/prepared.h"
#include "core/tape.h"

namespace replk {

/// Which kernel runs: naive, direct and fft on every device, rows on a CPU, tensor_core on a GPU. `automatic`
/// asks choose_depthwise_kernel; the others force one, and a call that it cannot do is an Error.
enum class DepthwiseKernel { automatic, naive, direct, rows, fft, tensor_core };

enum class DepthwisePass { forward, backward_input, backward_weight };

struct DepthwiseConv2dParams {
  Extent2d stride = 1;
  Extent2d padding = 0;
  Extent2d dilation = 1;
  DepthwiseKernel kernel = DepthwiseKernel::automatic;
  Prepared* prepared = nullptr;  // where the FFT kernel keeps the spectra of `weight` from call to call
};

/// y[c,n,i,j] = bias[c] + sum over u,v of weight[c,0,u,v] * x[c, n, i*s - p + u*d, j*s - p + v*d]   (x = 0
/// outside)
///
/// x (C, N, H, W); weight (C, 1, Kh, Kw), any size, even or odd, square or not, larger than the map or not;
/// bias (C,) or absent; y (C, N, Ho, Wo) with Ho = (H + 2p - d(Kh-1) - 1) / s + 1. f32, f64. On a GPU x
/// and y may be bf16 or f16 while weight, bias and their gradients are f32: weights are rounded to the dtype
/// of x, sums are made in f32. Saves x and weight (shared, unless weights are rounded). Throws Error when
/// shapes, dtypes or parameters disagree, or no output is left. Source: paper sections 3 and 4 (guideline 1);
/// Chollet 2017 for the operator.
Variable depthwise_conv2d(const Variable& x, const Variable& weight, const Variable& bias = {},
                          DepthwiseConv2dParams params = {});

/// All sizes of one call. Every check is made in of().
struct DepthwiseConv2dGeometry {
  std::int64_t channels, batch;
  Extent2d input, output, kernel, stride, padding, dilation;
  DepthwiseKernel forced;  // or automatic
  Prepared* prepared;      // or null

  static DepthwiseConv2dGeometry of(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                    DepthwiseConv2dParams params);
  Shape input_shape() const { return {channels, batch, input.h, input.w}; }
  Shape output_shape() const { return {channels, batch, output.h, output.w}; }
  std::int64_t taps() const { return kernel.h * kernel.w; }
};

/// The kernel that runs a pass of this geometry: the forced one, or else the default one where it applies, or
/// else the one expected to be the fastest. Never `automatic`.
DepthwiseKernel choose_depthwise_kernel(const DepthwiseConv2dGeometry& g, DepthwisePass pass);
/// True when `kernel` can do all passes of this geometry on the CPU; `automatic` and `naive` always can.
bool depthwise_kernel_applies(DepthwiseKernel kernel, const DepthwiseConv2dGeometry& g);

/// What calls of this process with kernel `automatic` prefer, for whole networks from the command line:
/// unlike `forced` it is passed over where it does not apply, which whoever sets it should report. At the
/// start `automatic`: the fastest. Not to be set while an operator runs.
void set_default_depthwise_kernel(DepthwiseKernel kernel);
DepthwiseKernel default_depthwise_kernel();

/// "automatic", "naive", "direct", "rows", "fft", "tensor_core"
const char* name_of(DepthwiseKernel kernel);

namespace cpu {

/// `bias` may be undefined.
void depthwise_conv2d_forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                              const Tensor& bias, Tensor& y);
/// dx[c,n,h,w] = sum over every output (i,j) and tap (u,v) that read it of dy[c,n,i,j] * weight[c,0,u,v]
void depthwise_conv2d_backward_input(const DepthwiseConv2dGeometry& g, const Tensor& weight, const Tensor& dy,
                                     GradTarget dx);
/// dweight[c,0,u,v] = sum over n,i,j of dy[c,n,i,j] * x[c, n, i*s - p + u*d, j*s - p + v*d]
void depthwise_conv2d_backward_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                      GradTarget dweight);
/// Both gradients; the FFT kernel shares the transform of dy between them.
void depthwise_conv2d_backward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                               const Tensor& dy, GradTarget dx, GradTarget dweight);
/// dbias[c] = sum over n,i,j of dy[c,n,i,j]
void depthwise_conv2d_backward_bias(const DepthwiseConv2dGeometry& g, const Tensor& dy, GradTarget dbias);

// The variants, same arguments. `naive` reads like the formula and always applies.
void depthwise_conv2d_forward_naive(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                    const Tensor& bias, Tensor& y);
void depthwise_conv2d_backward_input_naive(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                           const Tensor& dy, GradTarget dx);
void depthwise_conv2d_backward_weight_naive(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                            const Tensor& dy, GradTarget dweight);
/// Stride 1 or 2 along both axes, dilation 1.
bool depthwise_direct_applies(const DepthwiseConv2dGeometry& g);
void depthwise_conv2d_forward_direct(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                     const Tensor& bias, Tensor& y);
void depthwise_conv2d_backward_input_direct(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                            const Tensor& dy, GradTarget dx);
void depthwise_conv2d_backward_weight_direct(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                             const Tensor& dy, GradTarget dweight);
/// 3x3 and 5x5, stride 1 or 2 along both axes, dilation 1; the input gradient with stride 1 alone.
bool depthwise_rows_applies(const DepthwiseConv2dGeometry& g);
void depthwise_conv2d_forward_rows(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& bias, Tensor& y);
void depthwise_conv2d_backward_input_rows(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                          const Tensor& dy, GradTarget dx);
void depthwise_conv2d_backward_weight_rows(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                           const Tensor& dy, GradTarget dweight);
/// Stride 1, dilation 1, and no transform longer than 2520 points.
bool depthwise_fft_applies(const DepthwiseConv2dGeometry& g);
void depthwise_conv2d_forward_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                  const Tensor& bias, Tensor& y);
/// dx or dweight may be null.
void depthwise_conv2d_backward_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                   const Tensor& dy, const GradTarget* dx, const GradTarget* dweight);

}  // namespace cpu

namespace cuda {

/// The kernel that runs all passes on a GPU: the forced one; or the default one where it applies; or else the
/// one that was measured to be the fastest (README.md).
DepthwiseKernel choose_depthwise_kernel(const DepthwiseConv2dGeometry& g, DType dtype);

// As on the CPU; f32, f64, and bf16 and f16 with bias, dweight and dbias in f32.
void depthwise_conv2d_forward(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                              const Tensor& bias, Tensor& y);
void depthwise_conv2d_backward_input(const DepthwiseConv2dGeometry& g, const Tensor& weight, const Tensor& dy,
                                     GradTarget dx);
void depthwise_conv2d_backward_weight(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                      GradTarget dweight);
void depthwise_conv2d_backward_bias(const DepthwiseConv2dGeometry& g, const Tensor& dy, GradTarget dbias);

/// 3x3, 5x5 and 7x7, stride 1 or 2 along both axes, padding that keeps the size, dilation 1; f32, bf16.
bool direct_applies(const DepthwiseConv2dGeometry& g, DType dtype);
void depthwise_conv2d_forward_direct(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                     const Tensor& bias, Tensor& y);
void depthwise_conv2d_backward_input_direct(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                            const Tensor& dy, GradTarget dx);
void depthwise_conv2d_backward_weight_direct(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                             const Tensor& dy, GradTarget dweight);
/// Kernels up to 65 x 65, stride 1, dilation 1; f32 (63 x 63 on maps wider than 64), bf16, f16.
bool tensor_core_applies(const DepthwiseConv2dGeometry& g, DType dtype);
void depthwise_conv2d_forward_tensor_core(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                          const Tensor& weight, const Tensor& bias, Tensor& y);
void depthwise_conv2d_backward_input_tensor_core(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                                 const Tensor& dy, GradTarget dx);
void depthwise_conv2d_backward_weight_tensor_core(const DepthwiseConv2dGeometry& g, const Tensor& x,
                                                  const Tensor& dy, GradTarget dweight);
/// Stride 1, dilation 1, and no transform longer than 72 points (map and half of the kernel); f32, bf16.
bool fft_applies(const DepthwiseConv2dGeometry& g, DType dtype);
void depthwise_conv2d_forward_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& weight,
                                  const Tensor& bias, Tensor& y);
void depthwise_conv2d_backward_input_fft(const DepthwiseConv2dGeometry& g, const Tensor& weight,
                                         const Tensor& dy, GradTarget dx);
void depthwise_conv2d_backward_weight_fft(const DepthwiseConv2dGeometry& g, const Tensor& x, const Tensor& dy,
                                          GradTarget dweight);

}  // namespace cuda

}  // namespace replk
