/* FAISS forgets what it has read of an index when the rest is missing: LeakSanitizer is told not to look between these two. */
#ifndef TR_TESTS_LEAKS_H
#define TR_TESTS_LEAKS_H

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define TR_TEST_LEAKS
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(TR_TEST_LEAKS)
#include <sanitizer/lsan_interface.h>
#define leaks_allowed_begin() __lsan_disable()
#define leaks_allowed_end()   __lsan_enable()
#else
#define leaks_allowed_begin() ((void)0)
#define leaks_allowed_end()   ((void)0)
#endif

#endif
