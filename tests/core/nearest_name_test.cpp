#include "core/nearest_name.h"

#include <vector>

#include "tests/support/catch.h"

using namespace replk;

TEST_CASE("core/nearest_name/edit_distance") {
  CHECK(edit_distance("", "") == 0);
  CHECK(edit_distance("abc", "") == 3);
  CHECK(edit_distance("", "abc") == 3);
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(edit_distance("train", "trian") == 1);
  CHECK(edit_distance("ab", "ba") == 1);
  CHECK(edit_distance("Cifar10", "cIFAR10") == 0);
  CHECK(edit_distance("cifar10", "cifar100") == edit_distance("cifar100", "cifar10"));
}

TEST_CASE("core/nearest_name/nearest") {
  const std::vector<std::string> names = {"cifar10", "cifar100", "fashion-mnist"};
  CHECK(nearest_name("fashon-mnist", names) == "fashion-mnist");
  CHECK(nearest_name("mnist", names) == "fashion-mnist");
  CHECK(nearest_name("CIFAR-10", names) == "cifar10");
  CHECK(nearest_name("cifra100", names) == "cifar100");
  CHECK(nearest_name("", names) == "cifar10");
  CHECK(nearest_name("cifar", {}).empty());
}
