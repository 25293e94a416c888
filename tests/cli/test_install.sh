# What `cmake --install` puts somewhere is enough for a C program: one header, the library, and pkg-config's word on what else to link.
. "$(dirname "$0")/common.sh" "$@"
build=$(dirname "$program")
grep -q 'TR_SANITIZE:[A-Z]*=$' "$build/CMakeCache.txt" || exit 77                # the program would need the sanitizer too
grep -qE 'TR_CUDA:[A-Z]*=(OFF|)$' "$build/CMakeCache.txt" || exit 77 # the emulation is part of no installation
cmake --install "$build" --prefix "$dir/usr" >/dev/null
[ "$(cd "$dir/usr/include" && ls)" = totalrecall.h ] || fail "headers: $(cd "$dir/usr/include" && ls)"
"$dir/usr/bin/totalrecall" --version >/dev/null
PKG_CONFIG_PATH=$(dirname "$(find "$dir/usr" -name totalrecall.pc)")
export PKG_CONFIG_PATH
read -ra flags <<<"$(pkg-config --cflags --libs totalrecall)"
cc -std=c11 -Wall -Wextra -Werror -pedantic "$root/tests/cli/detector_example.c" -o "$dir/example" "${flags[@]}"

mkdir "$dir/weights"
make_weights "$dir/weights"
make_data "$dir/data"
class=$dir/data/synthetic/$(class_names | sed -n 1p)
"$dir/usr/bin/totalrecall" fit "$class" --out "$dir/model" --backbone resnet18 --weights "$dir/weights" --set image.resize=64 --set image.crop=56 2>/dev/null
"$dir/usr/bin/totalrecall" score "$dir/model" "$class"/test/*/*.png --weights "$dir/weights" 2>/dev/null | sed 1d >"$dir/scores"
"$dir/example" "$dir/model" "$dir/weights" "$class"/test/*/*.png | diff "$dir/scores" - || fail "the installed library scores otherwise"

printf '#include <totalrecall.h>\nint main() { return *tr_version() == 0; }\n' >"$dir/cpp.cpp" # the header is C++ too
c++ -std=c++11 -Wall -Wextra -Werror -pedantic "$dir/cpp.cpp" -o "$dir/cpp" "${flags[@]}"
"$dir/cpp"
