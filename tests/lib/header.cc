// SPDX-License-Identifier: MIT
// The header from C++11: compiled, and linked with the shared library.
#include <errand.h>
#include <cstdio>

int
main()
{
    errand_error error;
    errand *e = nullptr;
    errand_type type = ERRAND_INIT(errand_type);
    type.name = "a.b";
    const errand_options options = ERRAND_INIT(errand_options);
    errand_submit_options submit = ERRAND_INIT(errand_submit_options);
    submit = ERRAND_INIT(errand_submit_options);
    std::printf("%d %s\n", errand_version() == ERRAND_VERSION, errand_strerror(ERRAND_EFULL));
    bool fine = type.size == sizeof type && type.handler == nullptr && type.retries == 0;
    fine = fine && options.size == sizeof options && submit.size == sizeof submit &&
           submit.tags == nullptr;
    fine = fine && errand_open("nowhere:", nullptr, &e, &error) == ERRAND_EINVALID;
    return fine && errand_register(e, &type, &error) == ERRAND_EINVALID ? 0 : 1;
}
