// nearest_name: what a mistyped name was probably meant to be.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace replk {

/// Fewest insertions, deletions, substitutions and swaps of neighbours that turn `a` into `b`, upper and
/// lower case being the same. Source: optimal string alignment, Damerau 1964.
std::int64_t edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`; one that contains the whole word ("mnist" in "fashion-mnist") counts as
/// one edit away. Ties go to the first; empty when there are no candidates.
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

/// Throws UsageError where `name` is none of the two or more `known`: "--device: auto, cpu or cuda expected,
/// got 'gpu'. Did you mean 'cpu'?"
void require_name(std::string_view flag, const std::string& name, std::span<const std::string> known);

}  // namespace replk
