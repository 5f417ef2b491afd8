#include "io/zip_archive.h"

#include <zip.h>

#include <utility>

#include "core/error.h"
#include "io/shown.h"

namespace replk {
namespace {

std::string reason_of(int code) {
  zip_error_t error;
  zip_error_init_with_code(&error, code);
  std::string reason = zip_error_strerror(&error);
  zip_error_fini(&error);
  return reason;
}

}  // namespace

struct ZipArchive::Handle {
  explicit Handle(zip_t* opened) : zip(opened) {}
  ~Handle() { zip_discard(zip); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  zip_t* zip;
};

ZipArchive::ZipArchive(const std::filesystem::path& path) : name_(path.string()) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) throw FileError(str(name_, ": no such file."));
  if (!std::filesystem::is_regular_file(status)) throw FileError(str(name_, ": not a regular file."));
  int code = 0;
  zip_t* zip = zip_open(path.c_str(), ZIP_RDONLY, &code);
  if (!zip) throw FileError(str(name_, ": a zip archive expected: ", reason_of(code), "."));
  handle_ = std::make_unique<Handle>(zip);
  list(std::filesystem::file_size(path));
}

ZipArchive::ZipArchive(std::span<const std::byte> bytes, std::string name) : name_(std::move(name)) {
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  zip_t* zip = source ? zip_open_from_source(source, ZIP_RDONLY, &error) : nullptr;
  const std::string reason = zip ? "" : zip_error_strerror(&error);
  zip_error_fini(&error);
  if (!zip) {
    if (source) zip_source_free(source);
    throw FileError(str(name_, ": a zip archive expected: ", reason, "."));
  }
  handle_ = std::make_unique<Handle>(zip);
  list(bytes.size());
}

ZipArchive::~ZipArchive() = default;

void ZipArchive::list(std::uint64_t file_bytes) {
  constexpr std::uint64_t kFactor = 16, kMore = 1 << 20;
  limit_ = kFactor * file_bytes + kMore;
  std::uint64_t sum = 0;
  const zip_int64_t count = zip_get_num_entries(handle_->zip, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    zip_stat_t stat;
    zip_stat_init(&stat);
    constexpr zip_uint64_t kNeeded = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_METHOD;
    const auto index = static_cast<zip_uint64_t>(i);
    if (zip_stat_index(handle_->zip, index, ZIP_FL_ENC_RAW, &stat) != 0 || (stat.valid & kNeeded) != kNeeded)
      throw FileError(str(name_, ": entry ", i, ": name, size and method expected, they cannot be read."));
    if (stat.comp_method != ZIP_CM_STORE && stat.comp_method != ZIP_CM_DEFLATE)
      throw FileError(str(name_, ": entry ", shown(stat.name), ": method 0 (stored) or 8 (deflated) ",
                          "expected, got ", stat.comp_method, "."));
    sum += stat.size;
    if (stat.size > limit_ || sum > limit_)
      throw FileError(str(name_, ": entries of at most ", limit_, " bytes together expected (", kFactor,
                          " times the file), ", shown(stat.name), " goes beyond."));
    if (!entries_.emplace(stat.name, Entry{index, stat.size}).second)
      throw FileError(str(name_, ": entry ", shown(stat.name), " appears twice."));
  }
}

void ZipArchive::read(const std::string& name, const Entry& entry, void* to) {
  const auto refuse = [&](const std::string& reason) {
    throw FileError(str(name_, ": entry ", shown(name), ": ", entry.bytes, " bytes expected: ", reason, "."));
  };
  const std::unique_ptr<zip_file_t, int (*)(zip_file_t*)> file(zip_fopen_index(handle_->zip, entry.index, 0),
                                                               zip_fclose);
  if (!file) refuse(zip_strerror(handle_->zip));
  std::uint64_t done = 0;
  while (done < entry.bytes) {
    const zip_int64_t got = zip_fread(file.get(), static_cast<char*>(to) + done, entry.bytes - done);
    if (got < 0) refuse(zip_error_strerror(zip_file_get_error(file.get())));
    if (got == 0) refuse(str("it ends after ", done));
    done += static_cast<std::uint64_t>(got);
  }
  char more = 0;  // the CRC is compared when the end is seen
  const zip_int64_t rest = zip_fread(file.get(), &more, 1);
  if (rest < 0) refuse(zip_error_strerror(zip_file_get_error(file.get())));
  if (rest > 0) refuse("it is longer");
}

}  // namespace replk
