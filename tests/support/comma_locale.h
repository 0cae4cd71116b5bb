/* SPDX-License-Identifier: BSD-3-Clause
 *
 * comma_locale: a locale in which 1.5 is "1,5".
 *
 * Why: programs that host a layer set theirs; what goes to Redis must not follow it. Where no such
 * locale is installed one is compiled, which needs localedef and its sources; without them the test
 * is skipped.
 */
#ifndef TESTS_SUPPORT_COMMA_LOCALE_H
#define TESTS_SUPPORT_COMMA_LOCALE_H

#include "tests/support/redis_daemon.h"
#include "tests/support/unit.h"

#include <locale.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* glibc keeps what it made of LOCPATH, which is not the test's to free. */
#if defined(__SANITIZE_ADDRESS__)
#define COMMA_LEAKS_ARE_FOUND 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define COMMA_LEAKS_ARE_FOUND 1
#endif
#endif
#ifdef COMMA_LEAKS_ARE_FOUND
#include <sanitizer/lsan_interface.h>
#define COMMA_LEAKS_BEGIN() __lsan_disable()
#define COMMA_LEAKS_END() __lsan_enable()
#else
#define COMMA_LEAKS_BEGIN() ((void)0)
#define COMMA_LEAKS_END() ((void)0)
#endif

static inline locale_t comma_locale_make(void)
{
    struct redis_daemon d = {0}; /* for its folder */
    daemon_folder(&d);
    const char *const argv[] = {"localedef", "-i", "de_DE", "-f", "UTF-8", "./de_DE.UTF-8", NULL};
    const pid_t pid = daemon_spawn(d.folder, argv);
    assert_int_equal(waitpid(pid, NULL, 0), pid); /* warnings make it fail, too */
    setenv("LOCPATH", d.folder, 1);
    COMMA_LEAKS_BEGIN();
    const locale_t made = newlocale(LC_NUMERIC_MASK, "de_DE.UTF-8", (locale_t)0);
    COMMA_LEAKS_END();
    unsetenv("LOCPATH");
    daemon_remove(&d);
    return made;
}

/* Makes it this thread's, for which @before is to be restored by comma_locale_end(). */
static inline locale_t comma_locale_begin(locale_t *before)
{
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "pt_BR.UTF-8", "ru_RU.UTF-8"};
    locale_t comma = (locale_t)0;
    char text[16];
    for (size_t i = 0; i < UNIT_ROWS(names) && comma == (locale_t)0; i++)
        comma = newlocale(LC_NUMERIC_MASK, names[i], (locale_t)0);
    if (comma == (locale_t)0)
        comma = comma_locale_make();
    if (comma == (locale_t)0) {
        print_message("    skipped: no locale with a decimal comma, and none can be made\n");
        skip();
    }
    *before = uselocale(comma);
    snprintf(text, sizeof(text), "%.1f", 1.5);
    assert_string_equal(text, "1,5");
    return comma;
}

static inline void comma_locale_end(locale_t comma, locale_t before)
{
    uselocale(before);
    freelocale(comma);
}

#endif
