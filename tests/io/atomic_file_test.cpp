#include "io/atomic_file.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "core/error.h"
#include "tests/support/catch.h"
#include "tests/support/check_op.h"

using namespace replk;
using namespace replk::test;
namespace fs = std::filesystem;

namespace {

struct Folder {
  fs::path path = fs::temp_directory_path() / str("replk_atomic_test_", std::rand(), "_", ::getpid());
  Folder() { fs::create_directories(path); }
  ~Folder() { fs::remove_all(path); }
  long entries() const { return std::distance(fs::directory_iterator(path), fs::directory_iterator()); }
};

std::string text_of(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// No file of this process may grow past `bytes` while it lives: what a full disk looks like to write().
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int);
};

}  // namespace

TEST_CASE("io/atomic_file/writes") {
  const Folder folder;
  const fs::path path = folder.path / "a.txt";
  write_file_atomically(path, std::string_view("first"));
  CHECK(text_of(path) == "first");
  write_file_atomically(path, [](FileWriter& file) {
    file.write("sec");
    CHECK(file.position() == 3);
    file.write("ond, longer");
  });
  CHECK(text_of(path) == "second, longer");
  write_file_atomically(path, std::span<const std::byte>());
  CHECK(text_of(path).empty());
  CHECK(folder.entries() == 1);
}

TEST_CASE("io/atomic_file/bare_name") {
  const Folder folder;
  const fs::path here = fs::current_path();
  fs::current_path(folder.path);
  write_file_atomically("bare.txt", std::string_view("text"));
  fs::current_path(here);
  CHECK(text_of(folder.path / "bare.txt") == "text");
}

TEST_CASE("io/atomic_file/old_file_is_there_until_the_end") {
  const Folder folder;
  const fs::path path = folder.path / "a.txt";
  write_file_atomically(path, std::string_view("old"));
  write_file_atomically(path, [&](FileWriter& file) {
    file.write("new");
    CHECK(text_of(path) == "old");
  });
  CHECK(text_of(path) == "new");
}

TEST_CASE("io/atomic_file/disk_full") {
  const Folder folder;
  const fs::path path = folder.path / "a.bin";
  write_file_atomically(path, std::string_view("old"));
  const std::vector<std::byte> bytes(100'000);
  {
    const FileSizeLimit limit(4096);
    check_error([&] { write_file_atomically(path, bytes); },
                {path.string(), "bytes", "byte 4096", "File too large", "ulimit -f", "untouched"});
  }
  CHECK(text_of(path) == "old");
  CHECK(folder.entries() == 1);
}

// /dev/full takes nothing, as a full disk would.
TEST_CASE("io/atomic_file/no_space_left") {
  const Folder folder;
  const fs::path path = folder.path / "a.bin";
  write_file_atomically(path, std::string_view("old"));
  check_error(
      [&] {
        write_file_atomically(path, [&](FileWriter& file) {
          file.write("half");
          const int full = ::open("/dev/full", O_WRONLY);
          for (const fs::directory_entry& entry : fs::directory_iterator("/proc/self/fd")) {
            std::error_code error;
            const int descriptor = std::stoi(entry.path().filename().string());
            if (fs::read_symlink(entry.path(), error).extension() == ".tmp") ::dup2(full, descriptor);
          }
          ::close(full);
          file.write(std::string(10000, 'x'));
        });
      },
      {path.string(), "10000 bytes at byte 4", "No space left", "free some space", "untouched"});
  CHECK(text_of(path) == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("io/atomic_file/leftovers") {
  const Folder folder;
  const auto write = [&](const char* name) { std::ofstream(folder.path / name) << "half"; };
  for (const char* name : {".replk-1-0.tmp", ".replk-4000000-12.tmp", "a.tmp", ".replk-notes", "a.txt"})
    write(name);
  REQUIRE(mkfifo((folder.path / ".replk-1-1.tmp").c_str(), 0600) == 0);  // which nobody writes to
  write_file_atomically(folder.path / "b.txt", [&](FileWriter& file) {
    file.write("whole");
    CHECK(remove_leftovers(folder.path) == 3);  // and not the file that is being written
  });
  CHECK(text_of(folder.path / "b.txt") == "whole");
  CHECK(remove_leftovers(folder.path) == 0);
  CHECK(folder.entries() == 4);
  CHECK(remove_leftovers(folder.path / "none") == 0);
}

TEST_CASE("io/atomic_file/writer_throws") {
  const Folder folder;
  const fs::path path = folder.path / "a.txt";
  write_file_atomically(path, std::string_view("old"));
  check_error(
      [&] {
        write_file_atomically(path, [](FileWriter& file) {
          file.write("half");
          throw Error("stop");
        });
      },
      {"stop"});
  CHECK(text_of(path) == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("io/atomic_file/targets") {
  const Folder folder;
  const auto write = [](const fs::path& path) { write_file_atomically(path, std::string_view("x")); };
  check_error([&] { write(folder.path); }, {folder.path.string(), "a folder"});
  check_error([&] { write(folder.path / "none" / "a.txt"); }, {"a.txt", "No such file"});
  check_error([&] { write("/dev/null"); }, {"/dev/null", "regular file"});
  CHECK(fs::is_character_file("/dev/null"));
  write(folder.path / "real.txt");
  fs::create_symlink("real.txt", folder.path / "link.txt");
  write_file_atomically(folder.path / "link.txt", std::string_view("through the link"));
  CHECK(fs::is_symlink(folder.path / "link.txt"));
  CHECK(text_of(folder.path / "real.txt") == "through the link");
  const std::string longest(255, 'n');  // the longest name a file may have
  write(folder.path / longest);
  CHECK(text_of(folder.path / longest) == "x");
}
