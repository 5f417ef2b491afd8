// The sections of a report's page, each as the markup below its heading. What is missing is said in its
// place.
#pragma once

#include <string>

#include "scripts/replk/report.h"

namespace replk {

/// Curves and numbers of every epoch.
std::string training_section(const Report& report);
/// Accuracy, confusion matrix and classes.
std::string evaluation_section(const Report& report);
std::string mistakes_section(const Report& report);
std::string kernels_section(const Report& report);
std::string merging_section(const Report& report);
std::string configuration_section(const Report& report);
std::string commands_section(const Report& report);

/// Text in <code>.
std::string html_code(const std::string& text);

}  // namespace replk
