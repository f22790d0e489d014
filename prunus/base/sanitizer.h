#pragma once

// PRUNUS_ADDRESS_SANITIZER: this is built with AddressSanitizer. GCC defines a macro for it, clang
// answers a question.
#ifdef __SANITIZE_ADDRESS__
#define PRUNUS_ADDRESS_SANITIZER
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PRUNUS_ADDRESS_SANITIZER
#endif
#endif
