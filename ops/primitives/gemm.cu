#include <cublasLt.h>
#include <dlfcn.h>

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/cuda/check.h"
#include "core/precision.h"
#include "ops/primitives/gemm_cuda.h"

namespace replk::cuda {
namespace {

constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;  // what NVIDIA recommends for Hopper

// cuBLASLt is half a gigabyte, and loading it takes longer than many programs run: it is loaded with the
// first product on a GPU. A machine without a GPU need not have it.
void* library() {
  static void* loaded = [] {
    const std::string name = str("libcublasLt.so.", CUBLAS_VER_MAJOR);
    for (const std::string& place :
         {name, str(REPLK_CUDA_LIBRARIES "/", name), "/usr/local/cuda/lib64/" + name})
      if (void* result = dlopen(place.c_str(), RTLD_NOW | RTLD_LOCAL)) return result;
    throw Error(str("gemm: ", name, " cannot be loaded: ", dlerror(), ". Install cuBLAS of CUDA ",
                    CUBLAS_VER_MAJOR, " or name its folder in LD_LIBRARY_PATH."));
  }();
  return loaded;
}

template <class F>
F symbol(const char* name) {
  void* found = dlsym(library(), name);
  check(found != nullptr, "gemm: cuBLASLt has no function ", name, ". It is of another version.");
  return reinterpret_cast<F>(found);
}

#define REPLK_LT(name) decltype(&::name) name = symbol<decltype(&::name)>(#name)
struct Lt {
  REPLK_LT(cublasLtGetStatusString);
  REPLK_LT(cublasLtCreate);
  REPLK_LT(cublasLtMatmul);
  REPLK_LT(cublasLtMatmulAlgoGetHeuristic);
  REPLK_LT(cublasLtMatmulDescCreate);
  REPLK_LT(cublasLtMatmulDescDestroy);
  REPLK_LT(cublasLtMatmulDescSetAttribute);
  REPLK_LT(cublasLtMatrixLayoutCreate);
  REPLK_LT(cublasLtMatrixLayoutDestroy);
  REPLK_LT(cublasLtMatmulPreferenceCreate);
  REPLK_LT(cublasLtMatmulPreferenceDestroy);
  REPLK_LT(cublasLtMatmulPreferenceSetAttribute);
};
#undef REPLK_LT

const Lt& lt() {
  static const Lt functions;
  return functions;
}

void check_lt(cublasStatus_t status, const char* op, const char* call) {
  check(status == CUBLAS_STATUS_SUCCESS, op, ": ", call, ": ", lt().cublasLtGetStatusString(status),
        ". Run again with REPLK_SYNC=1 to see whether an earlier kernel is at fault.");
}

cublasLtHandle_t handle() {
  static cublasLtHandle_t made = [] {
    cublasLtHandle_t result = nullptr;
    check_lt(lt().cublasLtCreate(&result), "gemm", "cublasLtCreate");
    return result;
  }();
  return made;
}

cudaDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return CUDA_R_64F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

// A description that destroys itself.
template <class T, auto destroy>
struct Owned {
  T value = nullptr;
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (value) (lt().*destroy)(value);
  }
};
using Operation = Owned<cublasLtMatmulDesc_t, &Lt::cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, &Lt::cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, &Lt::cublasLtMatmulPreferenceDestroy>;

// The largest power of two up to 256 that divides an address: algorithms differ in what they need.
std::uint32_t alignment_of(const void* pointer) {
  std::uint32_t alignment = 256;
  while (reinterpret_cast<std::uintptr_t>(pointer) % alignment != 0) alignment /= 2;
  return alignment;
}

// One product as cuBLASLt sees it. Its matrices are column-major, ours row-major, so it computes the
// transposed product c^T = b^T a^T: what we call b is its first factor, and no data moves.
struct Product {
  const char* op;
  DType dtype, c_dtype;
  std::int64_t m, n, k;
  const void *a, *b;
  void* c;
  std::int64_t a_stride, b_stride, c_stride;
  bool a_transposed, b_transposed, accumulate;
};

struct Descriptions {
  Operation operation;
  Layout a, b, c;

  explicit Descriptions(const Product& p) {
    const bool tf32 = p.dtype == DType::f32 && precision() == Precision::tf32;
    const cublasComputeType_t compute = p.dtype == DType::f64 ? CUBLAS_COMPUTE_64F
                                        : tf32                ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                              : CUBLAS_COMPUTE_32F;
    const cudaDataType_t scale = p.dtype == DType::f64 ? CUDA_R_64F : CUDA_R_32F;
    check_lt(lt().cublasLtMatmulDescCreate(&operation.value, compute, scale), p.op,
             "cublasLtMatmulDescCreate");
    transpose(p.op, CUBLASLT_MATMUL_DESC_TRANSA, p.b_transposed);
    transpose(p.op, CUBLASLT_MATMUL_DESC_TRANSB, p.a_transposed);
    // Rows and columns of what lies in memory, read column-major.
    layout(p.op, a, p.dtype, p.a_transposed ? p.m : p.k, p.a_transposed ? p.k : p.m, p.a_stride);
    layout(p.op, b, p.dtype, p.b_transposed ? p.k : p.n, p.b_transposed ? p.n : p.k, p.b_stride);
    layout(p.op, c, p.c_dtype, p.n, p.m, p.c_stride);
  }

 private:
  void transpose(const char* op, cublasLtMatmulDescAttributes_t which, bool transposed) {
    const cublasOperation_t value = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    check_lt(lt().cublasLtMatmulDescSetAttribute(operation.value, which, &value, sizeof(value)), op,
             "cublasLtMatmulDescSetAttribute");
  }
  static void layout(const char* op, Layout& out, DType dtype, std::int64_t rows, std::int64_t columns,
                     std::int64_t stride) {
    check_lt(lt().cublasLtMatrixLayoutCreate(&out.value, data_type(dtype), static_cast<std::uint64_t>(rows),
                                             static_cast<std::uint64_t>(columns), stride),
             op, "cublasLtMatrixLayoutCreate");
  }
};

// The algorithm cuBLASLt holds for the fastest, among those that split a sum only into parts kept in full
// precision and added in a fixed order. Asked once per kind of product: asking takes longer than a small
// product.
cublasLtMatmulAlgo_t algorithm_for(const Product& p, const Descriptions& d) {
  static std::mutex mutex;
  static auto& known = *new std::map<std::vector<std::int64_t>, cublasLtMatmulAlgo_t>;
  const std::uint32_t align_a = alignment_of(p.a), align_b = alignment_of(p.b), align_c = alignment_of(p.c);
  const std::vector<std::int64_t> key = {static_cast<int>(p.dtype),
                                         static_cast<int>(p.c_dtype),
                                         static_cast<int>(precision()),
                                         p.m,
                                         p.n,
                                         p.k,
                                         p.a_stride,
                                         p.b_stride,
                                         p.c_stride,
                                         p.a_transposed,
                                         p.b_transposed,
                                         p.accumulate,
                                         align_a,
                                         align_b,
                                         align_c};
  const std::lock_guard lock(mutex);
  if (const auto found = known.find(key); found != known.end()) return found->second;

  Preference preference;
  check_lt(lt().cublasLtMatmulPreferenceCreate(&preference.value), p.op, "cublasLtMatmulPreferenceCreate");
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
    check_lt(lt().cublasLtMatmulPreferenceSetAttribute(preference.value, which, &value, sizeof(value)), p.op,
             "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_b);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_a);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_c);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_c);
  cublasLtMatmulHeuristicResult_t best{};
  int count = 0;
  const cublasStatus_t status =
      lt().cublasLtMatmulAlgoGetHeuristic(handle(), d.operation.value, d.b.value, d.a.value, d.c.value,
                                          d.c.value, preference.value, 1, &best, &count);
  check(status == CUBLAS_STATUS_SUCCESS && count > 0, p.op, ": cuBLASLt has no algorithm for a ", p.dtype,
        " product of ", p.m, " x ", p.k, " and ", p.k, " x ", p.n, " into ", p.c_dtype, ": ",
        lt().cublasLtGetStatusString(status), ".");
  known.emplace(key, best.algo);
  return best.algo;
}

void multiply(const Product& p) {
  const cudaStream_t stream = compute_stream();
  if (p.m == 0 || p.n == 0) return;
  if (p.k == 0) {
    const std::size_t size = size_of(p.c_dtype);
    if (!p.accumulate)
      check_call(
          cudaMemset2DAsync(p.c, static_cast<std::size_t>(p.c_stride) * size, 0,
                            static_cast<std::size_t>(p.n) * size, static_cast<std::size_t>(p.m), stream),
          "cudaMemset2DAsync");
    return;
  }
  const Descriptions d(p);
  const cublasLtMatmulAlgo_t algorithm = algorithm_for(p, d);
  Tensor workspace = Tensor::empty({static_cast<std::int64_t>(kWorkspaceBytes)}, DType::u8, Device::cuda());
  const double one64 = 1, before64 = p.accumulate ? 1 : 0;
  const float one32 = 1, before32 = p.accumulate ? 1 : 0;
  const bool wide = p.dtype == DType::f64;
  const void* alpha = wide ? static_cast<const void*>(&one64) : &one32;
  const void* beta = wide ? static_cast<const void*>(&before64) : &before32;
  check_lt(
      lt().cublasLtMatmul(handle(), d.operation.value, alpha, p.b, d.b.value, p.a, d.a.value, beta, p.c,
                          d.c.value, p.c, d.c.value, &algorithm, workspace.raw(), kWorkspaceBytes, stream),
      p.op, "cublasLtMatmul");
  check_launch(p.op);
}

}  // namespace

template <class T, class C>
void gemm(const char* op, std::int64_t m, std::int64_t n, std::int64_t k, Matrix<const T> a,
          Matrix<const T> b, Matrix<C> c, bool accumulate) {
  multiply({op, dtype_of<T>(), dtype_of<C>(), m, n, k, a.data, b.data, c.data, a.stride, b.stride, c.stride,
            a.transposed, b.transposed, accumulate});
}

#define REPLK_GEMM(T, C)                                                                     \
  template void gemm(const char*, std::int64_t, std::int64_t, std::int64_t, Matrix<const T>, \
                     Matrix<const T>, Matrix<C>, bool)
REPLK_GEMM(float, float);
REPLK_GEMM(double, double);
REPLK_GEMM(bf16, bf16);
REPLK_GEMM(f16, f16);
REPLK_GEMM(bf16, float);
REPLK_GEMM(f16, float);
#undef REPLK_GEMM

}  // namespace replk::cuda
