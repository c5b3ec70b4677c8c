# The addon by node-gyp, for a machine without CMake (scripts/build.mjs). CMakeLists.txt is the build that counts: same sources, same
# flags. One static library per instruction set, since gyp has no flags per file.
{
  "target_defaults": {
    "cflags!": ["-fno-exceptions", "-fno-tree-vrp"],
    "cflags_cc!": ["-fno-exceptions", "-fno-rtti", "-std=gnu++17", "-std=gnu++20"],
    "cflags_cc": [
      "-std=c++20", "-O3", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-fvisibility-inlines-hidden", "-Wall", "-Wextra",
      "-Wno-psabi", "-fstack-protector-strong"
    ],
    "xcode_settings": {
      "GCC_ENABLE_CPP_EXCEPTIONS": "YES",
      "CLANG_CXX_LANGUAGE_STANDARD": "c++20",
      "OTHER_CPLUSPLUSFLAGS": ["-O3", "-ffp-contract=off"]
    },
    "conditions": [["target_arch=='x64'", {"defines": ["REGIMES_X86_KERNELS"]}]]
  },
  "targets": [
    {
      "target_name": "regimes",
      "sources": [
        "<!@(node -p \"['core', 'cpu', 'reference', 'io', 'bindings'].flatMap((d) => fs.readdirSync('native/' + d).filter((f) => f.endsWith('.cpp') && !/_(avx2|avx512|vnni|amx)\\.cpp$/.test(f)).map((f) => 'native/' + d + '/' + f)).join(' ')\")",
        "native/dispatch.cpp"
      ],
      "include_dirs": [
        "<!(node -p \"require('node-api-headers').include_dir\")",
        "<!(node -p \"require('node-addon-api').include_dir\")"
      ],
      "defines": [
        "NAPI_VERSION=9", "NODE_ADDON_API_CPP_EXCEPTIONS", "NODE_API_NO_EXTERNAL_BUFFERS_ALLOWED",
        "NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS",
        "REGIMES_VERSION=\"<!(node -p \"require('./package.json').version\")\""
      ],
      "conditions": [
        ["target_arch=='x64'", {"dependencies": ["kernels_avx2", "kernels_avx512", "kernels_vnni", "kernels_amx"]}],
        ["OS=='linux'", {"ldflags": ["-Wl,-z,nodelete"]}]
      ]
    }
  ],
  "conditions": [
    ["target_arch=='x64'", {
      "targets": [
        {
          "target_name": "kernels_avx2",
          "type": "static_library",
          "sources": ["native/cpu/kernels_avx2.cpp", "native/cpu/digits_words_avx2.cpp", "native/cpu/words_avx2.cpp", "native/cpu/dense_avx2.cpp", "native/cpu/normals_avx2.cpp", "native/cpu/projected_avx2.cpp"],
          "cflags_cc": ["-mavx2", "-mfma", "-mf16c"],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["-mavx2", "-mfma", "-mf16c"]}
        },
        {
          "target_name": "kernels_avx512",
          "type": "static_library",
          "sources": ["native/cpu/kernels_avx512.cpp", "native/cpu/digits_words_avx512.cpp", "native/cpu/words_avx512.cpp", "native/cpu/dense_avx512.cpp", "native/cpu/normals_avx512.cpp", "native/cpu/projected_avx512.cpp"],
          "cflags_cc": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma", "-Wno-uninitialized", "-Wno-maybe-uninitialized"],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mfma"]}
        },
        {
          "target_name": "kernels_vnni",
          "type": "static_library",
          "sources": ["native/cpu/digits_vnni.cpp", "native/cpu/words_vnni.cpp", "native/cpu/projected_vnni.cpp"],
          "cflags_cc": [
            "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx512vnni", "-mfma", "-Wno-uninitialized", "-Wno-maybe-uninitialized"
          ],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx512vnni", "-mfma"]}
        },
        {
          "target_name": "kernels_amx",
          "type": "static_library",
          "sources": ["native/cpu/digits_amx.cpp"],
          "cflags_cc": [
            "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx512vnni", "-mamx-tile", "-mamx-int8", "-mfma",
            "-Wno-uninitialized", "-Wno-maybe-uninitialized"
          ],
          "xcode_settings": {"OTHER_CPLUSPLUSFLAGS": ["-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw", "-mavx512vnni", "-mamx-tile", "-mamx-int8", "-mfma"]}
        }
      ]
    }]
  ]
}
