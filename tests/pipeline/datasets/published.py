"""Small published data sets in their exact shapes: names, headers, separators and keys are real, contents made up.

Videos are four short ones, copied under all names that a set needs. `EXPECTED` was worked out by hand.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.generated_videos import write_video
from tests.pictures import write_pictures

WHOLE = (0.0, 86_400.0)
SECONDS = (1, 2, 4)
"""Lengths of the videos that sets are made of."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """One data set: its label files, its videos by their lengths, and the segments that it means."""

    labels: dict[str, str]
    videos: dict[str, int]
    """Seconds, by path."""
    expected: list[tuple[object, ...]]
    """video, (start, end), gloss, signer, split, box"""
    missing: tuple[str, ...] = ()
    encoding: str = "utf-8"


def write_set(name: str, folder: Path, videos: Path) -> Published:
    """Write a data set into a folder; `videos` is one of videos that were written by `write_videos`."""
    published = SETS[name]
    for path, text in published.labels.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(text.encode(published.encoding))
    for path, seconds in published.videos.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if "*" in path:
            stem, suffix = (folder / path).name.split("*")
            write_pictures((folder / path).parent, 4, suffix, name=f"{stem}{{:04d}}".format)
        else:
            shutil.copy(videos / f"{seconds}.mp4", folder / path)
    return published


def write_videos(folder: Path) -> Path:
    for seconds in SECONDS:
        write_video(folder / f"{seconds}.mp4", 25 * seconds, rate=25, width=64, height=48)
    return folder


def _wlasl(**instance: object) -> str:
    import json

    common = {"fps": 25, "frame_end": -1, "frame_start": 1, "source": "aslpro", "variation_id": 0, "split": "train"}
    return json.dumps(common | {"url": "http://www.aslpro.cc/main/b/book.swf"} | instance)


_YOUTUBE = "https://www.youtube.com/watch?v=hjS0dQDgbjo"
_WLASL = f"""[{{"gloss": "book", "instances": [
  {_wlasl(bbox=[5, 3, 40, 48], signer_id=118, video_id="69241", instance_id=0)},
  {_wlasl(bbox=[5, 3, 40, 48], signer_id=90, video_id="65225", split="val", instance_id=1)},
  {_wlasl(bbox=[0, 1, 30, 40], signer_id=121, video_id="70212", frame_start=2150, frame_end=2174, url=_YOUTUBE)}]}},
 {{"gloss": "drink", "instances": [
  {_wlasl(bbox=[0, 1, 30, 40], signer_id=121, video_id="70266", frame_start=26, frame_end=75, url=_YOUTUBE)},
  {_wlasl(bbox=[0, 0, 9, 9], signer_id=5, video_id="00335", split="test", variation_id=1)}]}}]"""

_MSASL = """{{"org_text": "{0}", "clean_text": "{0}", "start_time": {1}, "end_time": {2}, "signer_id": {3}, "signer": 0,
 "start": 0, "end": 50, "file": "x", "label": 7, "height": 48, "fps": 25.0, "width": 64, "review": 1,
 "box": [0.05, 0.25, 1.0, 0.75], "text": "{0}", "url": "{4}"}}"""

_CITIZEN = "Participant ID,Video file,Gloss,ASL-LEX Code\n"
_HOW2SIGN = "VIDEO_ID\tVIDEO_NAME\tSENTENCE_ID\tSENTENCE_NAME\tSTART_REALIGNED\tEND_REALIGNED\tSENTENCE\n"
_PHOENIX = "name|video|start|end|speaker|orth|translation\n"
_PHOENIX_ROW = "{0}|{0}/1/*.png|-1|-1|{1}|{2}|und dann regen\n"
_TEST_CLIP = "popsign_v1_0/game/test/table/4a.8027-table-2022_12_28_09_26_53.197-0.mp4"
_TRAIN_CLIP = "popsign_v1_0/game/train/table/4a.7003-table-2022_12_27_09_26_53.197-0.mp4"
_VAL_CLIP = "popsign_v1_0/game/val/thankyou/4b.1-thankyou-2022_12_27_09_26_53.197-2.mp4"
_CLIP = "train_rgb_front_clips/raw_videos/--7E2sU6zP4_10-5-rgb_front.mp4"
_FRAMES_TRAIN = "features/fullFrame-210x260px/train/25October_2010_Monday_tagesschau-17"
_FRAMES_DEV = "features/fullFrame-210x260px/dev/26October_2010_Monday_tagesschau-17"

SETS: dict[str, Published] = {
    "wlasl": Published(
        labels={"start_kit/WLASL_v0.3.json": _WLASL},
        videos={"videos/69241.mp4": 1, "videos/65225.mp4": 1, "videos/70212.mp4": 1, "raw_videos/hjS0dQDgbjo.mp4": 4},
        expected=[
            ("videos/69241.mp4", WHOLE, "book", "118", "train", (5, 3, 40, 48)),
            ("videos/65225.mp4", WHOLE, "book", "90", "val", (5, 3, 40, 48)),
            ("videos/70212.mp4", WHOLE, "book", "121", "train", (0, 1, 30, 40)),
            ("raw_videos/hjS0dQDgbjo.mp4", (1.0, 3.0), "drink", "121", "train", (0, 1, 30, 40)),
        ],
        missing=("videos/00335",),
    ),
    "nslt": Published(
        labels={
            "preprocess/nslt_100.json": '{"69241": {"subset": "train", "action": [1, 1, 25]},'
            ' "65225": {"subset": "val", "action": [0, 26, 50]}, "00335": {"subset": "test", "action": [0, 1, 9]}}',
            "preprocess/wlasl_class_list.txt": "0\tbook\n1\tdrink\n",
        },
        videos={"videos/69241.mp4": 1, "videos/65225.mp4": 2},
        expected=[
            ("videos/69241.mp4", (0.0, 1.0), "drink", None, "train", None),
            ("videos/65225.mp4", (1.0, 2.0), "book", None, "val", None),
        ],
        missing=("videos/00335",),
    ),
    "msasl": Published(
        labels={
            "MSASL_train.json": f"[{_MSASL.format('help', 1.0, 3.5, 76, _YOUTUBE)},"
            f" {_MSASL.format('big', 0.0, 1.0, 3, 'www.youtube.com/watch?v=TR9M0q7iWxY')}]",
            "MSASL_val.json": f"[{_MSASL.format('help', 2.0, 3.0, 5, 'https://youtu.be/PWGruSSI30c')}]",
            "MSASL_classes.json": '["hello", "help", "big"]',
        },
        videos={"videos/hjS0dQDgbjo.mp4": 4, "videos/PWGruSSI30c.mp4": 1},
        expected=[
            ("videos/hjS0dQDgbjo.mp4", (1.0, 3.5), "help", "76", "train", (0.25, 0.05, 0.75, 1.0)),
            ("videos/PWGruSSI30c.mp4", WHOLE, "help", "5", "val", (0.25, 0.05, 0.75, 1.0)),
        ],
        missing=("TR9M0q7iWxY",),
    ),
    "asl-citizen": Published(
        encoding="utf-8-sig",
        labels={
            "ASL_Citizen/splits/train.csv": _CITIZEN + "P52,15890366051589533-APPLE.mp4,APPLE,A_01_063\n"
            'P6,7-seedBITE.mp4,"BITE1",B_02\n',
            "ASL_Citizen/splits/val.csv": _CITIZEN + "P3,8-APPLE.mp4,APPLE,A_01_063\n",
            "ASL_Citizen/splits/test.csv": _CITIZEN + "P9,9-APPLE.mp4,APPLE,A_01_063\n",
        },
        videos={f"ASL_Citizen/videos/{n}.mp4": 1 for n in ("15890366051589533-APPLE", "7-seedBITE", "8-APPLE")},
        expected=[
            ("ASL_Citizen/videos/15890366051589533-APPLE.mp4", WHOLE, "APPLE", "P52", "train", None),
            ("ASL_Citizen/videos/7-seedBITE.mp4", WHOLE, "BITE1", "P6", "train", None),
            ("ASL_Citizen/videos/8-APPLE.mp4", WHOLE, "APPLE", "P3", "val", None),
        ],
        missing=("9-APPLE.mp4",),
    ),
    "sem-lex": Published(
        labels={
            "semlex_metadata.csv": ",video_id,signer_id,duration,split,label_type,label\n"
            "0,AjczHbfK9Z6v83rQDcuE,12,1543.0,train,asllex,30_minute \n"
            '1,BkczHbfK9Z6v83rQDcuF,3,2474.0,val,freetext,"release, rescue"\n',
        },
        videos={"train/train-videos/AjczHbfK9Z6v83rQDcuE.webm": 1, "val/BkczHbfK9Z6v83rQDcuF.webm": 1},
        expected=[
            ("train/train-videos/AjczHbfK9Z6v83rQDcuE.webm", WHOLE, "30_minute", "12", "train", None),
            ("val/BkczHbfK9Z6v83rQDcuF.webm", WHOLE, "release, rescue", "3", "val", None),
        ],
    ),
    "popsign": Published(
        labels={},
        videos={
            _TEST_CLIP: 1,
            _TRAIN_CLIP: 1,
            _VAL_CLIP: 1,
        },
        expected=[
            (_TEST_CLIP, WHOLE, "table", "4a.8027", "test", None),
            (_TRAIN_CLIP, WHOLE, "table", "4a.7003", "train", None),
            (_VAL_CLIP, WHOLE, "thankyou", "4b.1", "val", None),
        ],
    ),
    "how2sign": Published(
        labels={
            "how2sign_realigned_train.csv": _HOW2SIGN
            + "--7E2sU6zP4\t--7E2sU6zP4-5-rgb_front\t--7E2sU6zP4_10\t--7E2sU6zP4_10-5-rgb_front\t129.06\t130.06\t"
            '"And I call them ""decorative"", because of it."\n',
            "how2sign_realigned_val.csv": _HOW2SIGN
            + "-d5dN54tH2E\t-d5dN54tH2E-1-rgb_front\t-d5dN54tH2E_0\t-d5dN54tH2E_0-1-rgb_front\t1.5\t3.75\tHere.\n",
        },
        videos={
            _CLIP: 1,
            "val_raw_videos/-d5dN54tH2E-1-rgb_front.mp4": 4,
        },
        expected=[
            (_CLIP, WHOLE, 'And I call them "decorative", because of it.', "5", "train", None),
            ("val_raw_videos/-d5dN54tH2E-1-rgb_front.mp4", (1.5, 3.75), "Here.", "1", "val", None),
        ],
    ),
    "lsa64": Published(
        labels={"lsa64_signs.md": "01|Opaque|R|\n02|Red|R|\n"},
        videos={"all/001_003_005.mp4": 1, "all/002_010_001.mp4": 1},
        expected=[
            ("all/001_003_005.mp4", WHOLE, "Opaque", "003", None, None),
            ("all/002_010_001.mp4", WHOLE, "Red", "010", None, None),
        ],
    ),
    "autsl": Published(
        labels={
            "train_labels.csv": "signer0_sample1,1\r\nsigner0_sample2,0\r\n",
            "validation_labels.csv": "signer1_sample1,1\r\n",
            "test_labels.csv": "signer34_sample1,0\r\n",
            "SignList_ClassId_TR_EN.csv": "ClassId,TR,EN\r\n0,abla,sister\r\n1,acele,hurry\r\n",
        },
        videos={
            **{f"train/signer0_sample{n}_{kind}.mp4": 1 for n in (1, 2) for kind in ("color", "depth")},
            "val/signer1_sample1_color.mp4": 1,
        },
        expected=[
            ("train/signer0_sample1_color.mp4", WHOLE, "acele", "0", "train", None),
            ("train/signer0_sample2_color.mp4", WHOLE, "abla", "0", "train", None),
            ("val/signer1_sample1_color.mp4", WHOLE, "acele", "1", "val", None),
        ],
        missing=("signer34_sample1_color",),
    ),
    "bosphorus": Published(
        labels={
            "BosphorusSign22k.csv": "SubsetID,ClassID,ClassName_tr,ClassName_eng,UserID,RepeatID\r\n"
            "General,0004,Aciklamak,Explain,User_2,001\r\n"
            'Health,0010,Acil,"Emergency ""call""",User_4,002\r\n',
        },
        videos={"mp4/0004/User_2_001.mp4": 1, "mp4/0010/User_4_002.mp4": 1},
        expected=[
            ("mp4/0004/User_2_001.mp4", WHOLE, "Aciklamak", "User_2", "train", None),
            ("mp4/0010/User_4_002.mp4", WHOLE, "Acil", "User_4", "test", None),
        ],
    ),
    "csl": Published(
        labels={"gloss_label.txt": "情况\r\n前途\r\n"},
        videos={"color/000/P09_01_00_3._color.mp4": 1, "color/001/P41_01_01_0._color.mp4": 1},
        expected=[
            ("color/000/P09_01_00_3._color.mp4", WHOLE, "情况", "09", "train", None),
            ("color/001/P41_01_01_0._color.mp4", WHOLE, "前途", "41", "test", None),
        ],
    ),
    "devisign": Published(
        labels={
            "Documents/4414To2000(DEVISIGN_L)_ID&Meaning.txt": "Ori_ID\tL_ID\tMeaning (Chinese)\r\n"
            "0000\t0000\t人\r\n0002\t0001\t群众\r\n0006\t0002\t我\r\n",
        },
        videos={
            f"{take[:3]}_{take[9]}/{take}.oni/{take}.oni/color.avi": 1
            for take in ("P01_0002_2_0_20140708", "P06_0001_1_0_20130601")
        },
        expected=[
            ("P01_2/P01_0002_2_0_20140708.oni/P01_0002_2_0_20140708.oni/color.avi", WHOLE, "我", "01", "train", None),
            ("P06_1/P06_0001_1_0_20130601.oni/P06_0001_1_0_20130601.oni/color.avi", WHOLE, "群众", "06", "test", None),
        ],
    ),
    "include": Published(
        labels={
            "Train_Test_Split/train_include.csv": "Category,Word,Video,FilePath\n"
            "Adjectives,4. sad,MVI_9568.MOV,Adjectives/4. sad/MVI_9568.MOV\n"
            "Means of Transportation,11. Car,MVI_3145.MOV,Means_of_Transportation/11. Car/MVI_3145.MOV\n",
            "Train_Test_Split/test_include.csv": "Category,Word,Video,FilePath\n"
            "Seasons,Ex. Monsoon,MVI_1.MOV,Seasons/Ex. Monsoon/MVI_1.MOV\n",
        },
        videos={
            "Adjectives/4. sad/MVI_9568.MOV": 1,
            "Means_of_Transportation/11. Car/MVI_3145.MOV": 1,
            "Seasons/Ex. Monsoon/MVI_1.MOV": 1,
        },
        expected=[
            ("Adjectives/4. sad/MVI_9568.MOV", WHOLE, "sad", None, "train", None),
            ("Means_of_Transportation/11. Car/MVI_3145.MOV", WHOLE, "Car", None, "train", None),
            ("Seasons/Ex. Monsoon/MVI_1.MOV", WHOLE, "Ex. Monsoon", None, "test", None),
        ],
    ),
    "slovo": Published(
        labels={
            "annotations.csv": "attachment_id\tuser_id\twidth\theight\tlength\ttext\ttrain\tbegin\tend\n"
            "de81cc1c-1\t1b3\t1440\t1920\t31.0\tПривет!\tTrue\t30\t60\n"
            "3c0cec5a-2\t64f\t1440\t1920\t23.0\tутро\tFalse\t43\t73\n",
        },
        videos={"slovo/train/de81cc1c-1.mp4": 4, "slovo/test/3c0cec5a-2.mp4": 1},
        expected=[
            ("slovo/train/de81cc1c-1.mp4", (1.0, 2.0), "Привет!", "1b3", "train", None),
            ("slovo/test/3c0cec5a-2.mp4", WHOLE, "утро", "64f", "test", None),
        ],
    ),
    "gsl": Published(
        labels={
            "train_greek_iso.csv": "police1_signer1_rep1_glosses/glosses0000|ΓΕΙΑ\n",
            "val_greek_iso.csv": "health1_signer3_rep3_glosses/glosses0001|ΕΓΩ(1)\n",
            "bbox_for_gsl_isolated.txt": "police1_signer1_rep1_glosses/glosses0000 |x1:10, x2:53, y1:4, y2:48\n",
        },
        videos={
            "GSL_isol/police1_signer1_rep1_glosses/glosses0000/frame_*.jpg": 1,
            "GSL_isol/health1_signer3_rep3_glosses/glosses0001/frame_*.jpg": 1,
        },
        expected=[
            ("GSL_isol/police1_signer1_rep1_glosses/glosses0000", WHOLE, "ΓΕΙΑ", "1", "train", (10, 4, 53, 48)),
            ("GSL_isol/health1_signer3_rep3_glosses/glosses0001", WHOLE, "ΕΓΩ(1)", "3", "val", None),
        ],
    ),
    "phoenix-2014t": Published(
        labels={
            f"annotations/manual/PHOENIX-2014-T.{split}.corpus.csv": _PHOENIX
            + _PHOENIX_ROW.format(f'{day}October_2010_Monday_tagesschau-17', signer, 'REGEN "SCHNEE')
            for split, day, signer in (("train", 25, "Signer01"), ("dev", 26, "Signer04"))
        },
        videos={
            f"features/fullFrame-210x260px/{split}/{day}October_2010_Monday_tagesschau-17/images*.png": 1
            for split, day in (("train", 25), ("dev", 26))
        },
        expected=[
            (_FRAMES_TRAIN, WHOLE, 'REGEN "SCHNEE', "Signer01", "train", None),
            (_FRAMES_DEV, WHOLE, 'REGEN "SCHNEE', "Signer04", "val", None),
        ],
    ),
}  # fmt: skip
